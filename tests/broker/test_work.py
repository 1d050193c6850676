"""No script does more because the log is longer: calls, and values returned by them, are counted instead of time."""

import pytest
from redis import Redis as SyncRedis

from tests.broker.script_calls import AT_ONCE, CALLS, OURS, fill, run

SHORT, LONG = 20_000, 1_000_000  # requests; the other streams hold a part of that
COUNTER = "of-the-test:work"

# Counts the calls of a script, the values they return, and what they trim.
METER = """
local real, work = redis, 0
local function values(of)
  if type(of) ~= 'table' then return 1 end
  local sum = 1
  for _, value in pairs(of) do sum = sum + values(value) end
  return sum
end
local function metered(call, name, ...)
  local answer = real[call](name, ...)
  work = work + values(answer) + (name == 'XTRIM' and tonumber(answer) or 0)
  real.call('SET', 'of-the-test:work', work)
  return answer
end
local redis = setmetatable({
  call = function(...) return metered('call', ...) end,
  pcall = function(...) return metered('pcall', ...) end,
}, {__index = real})
"""
TRIMMING = {"trim", "settle"}  # what they take off the log in one call is bounded


def work(redis, name):
    """Return what one call of a script did."""
    run(redis, name, METER)
    return int(redis.get(COUNTER))


def test_every_script_is_measured():
    assert set(OURS) == set(CALLS)


@pytest.mark.timeout(240)
def test_no_script_does_more_because_the_log_is_longer(server):
    redis = SyncRedis(port=server.port)
    found = {}
    for length in (SHORT, LONG):
        fill(redis, length)
        found[length] = {name: work(redis, name) for name in CALLS}
    redis.flushall()
    redis.close()
    for name in CALLS:
        assert 0 < found[LONG][name] <= (2 * AT_ONCE if name in TRIMMING else found[SHORT][name]), name
