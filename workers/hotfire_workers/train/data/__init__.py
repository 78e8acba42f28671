"""The data sample: from the file's bytes to what the model will see of each row.

`stream` and `read` find the rows, `formats` brings them to one shape, `template` renders conversations,
`encode` makes token ids and the mask, `measure` takes the numbers, `observe` sees what numbers do not tell,
`samples` makes the token views.
"""
