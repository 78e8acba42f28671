-- The record's time is over. Returns 1 if it was.
if alive() then
  return 0
end
purge()
return 1
