-- The highest rate that the gateway carries without loss, by bisection, with pktgen-dpdk.
--
-- The frames come from a pcap file (perf/trex/write_pcap.py), loaded at start on the sending port:
--   pktgen -l 0-4 -n 4 -- -P -m "[1-2].0, [3-4].1" -s 0:encap-64.pcap -f perf/pktgen/penstock.lua
-- For gre-decap and gre-transit load the file on port 1 and swap SEND and RECEIVE.

package.path = package.path .. ";?.lua;test/?.lua;app/?.lua;../?.lua"
require "Pktgen"

local SEND, RECEIVE = "0", "1"
local SECONDS = 10        -- each trial
local STEPS = 8           -- bisection: 100 % / 2^8 is 0.4 %
local SETTLE_MS = 1000    -- what is still on its way

local function trial(percent)
    pktgen.set(SEND, "rate", percent)
    pktgen.clear("all")
    pktgen.delay(SETTLE_MS)
    pktgen.start(SEND)
    pktgen.delay(SECONDS * 1000)
    pktgen.stop(SEND)
    pktgen.delay(SETTLE_MS)
    local stats = pktgen.portStats("all", "port")
    local sent = stats[tonumber(SEND)].opackets
    local received = stats[tonumber(RECEIVE)].ipackets
    printf("rate %6.2f %%  sent %12d  received %12d  lost %10d  %8.3f Mpps\n",
        percent, sent, received, sent - received, received / SECONDS / 1e6)
    return sent > 0 and received >= sent
end

pktgen.screen("off")
pktgen.pcap(SEND, "on")
local low, high = 0, 100
if trial(100) then
    low = 100
else
    for _ = 1, STEPS do
        local middle = (low + high) / 2
        if trial(middle) then low = middle else high = middle end
    end
end
printf("without loss: %.2f %% of the line\n", low)
pktgen.screen("on")
