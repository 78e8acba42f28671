-- Returns the state before: 0 if gone, 2 (RUNNING) if therefore nothing was done.
if not alive() then
  return 0
end
local before = state()
if before ~= RUNNING then
  purge()
end
return before
