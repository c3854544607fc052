-- For wrk: each connection sends sixteen requests at once, and the next sixteen when all of them are answered.
local together = 16
local requests

function init()
    local one = wrk.format()
    requests = one:rep(together)
end

function request()
    return requests
end
