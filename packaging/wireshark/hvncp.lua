-- HVNCP, the protocol between vmpulse's guest agents (VMM) and host monitors (HM), for Wireshark and tshark.
-- The protocol is described in docs/protocol.md; how to use this file in docs/operating/capture.md.
-- It is one file, however long, because that is how people put it into Wireshark's plugin folder.
--
-- Tested with Wireshark 4.0 (Lua 5.2). It uses nothing that Lua 5.1 to 5.4 do not share, so no operators on bits.
--
-- What a packet means depends on packets before it (repetitions, acknowledgements, parts of a message). Wireshark
-- shows the packets of a file once in order, then again in any order: the first time they are followed (`follow`), and
-- what was found is kept by frame number in `found`.

local hvncp = Proto("hvncp", "vmpulse HVNCP")

local DEFAULT_ETHERTYPE = 0x88B5
local HEADER, TRAILER = 8, 24
local MAJOR = 2

-- A receiver takes a packet for a repetition for so long, and keeps the parts of a message for so long (seconds).
local REPEATED_WITHIN, PARTS_WITHIN = 20, 30
-- A sender's packets are at most so many ahead of the oldest that is not acknowledged.
local WINDOW = 32
-- Parts kept for one direction and priority: four of the longest messages. A capture of nonsense holds no end of them.
local MAX_PART_BYTES = 4 * 256 * 1024
-- What a part costs besides its payload.
local PART_COST = 64
-- Longest payload of a SYN, longest reason of a QUIET or DYING.
local MAX_SYN_BYTES, MAX_REASON_BYTES = 512, 128
-- Longest text in the info column; the message itself is shown whole.
local MAX_INFO = 120

---------------------------------------------------------------------------------------------------- fields

local f = {}
local function field(name, make, ...)
    f[name] = make("hvncp." .. name, ...)
end

field("major", ProtoField.uint8, "Major version")
field("minor", ProtoField.uint8, "Minor version")
field("number", ProtoField.uint8, "Number")
field("flags", ProtoField.uint8, "Flags", base.HEX)
local FLAGS = {
    { "ackr", 0x80, "must be acknowledged" },
    { "ack", 0x40, "acknowledges the packet with this number" },
    { "beg", 0x20, "first packet of a message; in a SYN: from the VMM" },
    { "end", 0x10, "last packet of a message; in a SYN: from the HM" },
    { "pri", 0x08, "urgent" },
    { "syn", 0x04, "handshake" },
    { "hel", 0x02, "Hello" },
    { "auth", 0x01, "an authentication trailer follows the payload" },
}
for _, flag in ipairs(FLAGS) do
    local name, mask, text = flag[1], flag[2], flag[3]
    field("flags." .. name, ProtoField.bool, name:upper() .. ": " .. text, 8, nil, mask)
    flag.field = f["flags." .. name]
end
field("length", ProtoField.uint16, "Payload length")
field("reserved", ProtoField.uint8, "Reserved", base.HEX)
field("kid", ProtoField.uint8, "Key id")
field("checksum", ProtoField.uint8, "Checksum", base.HEX)
field("checksum.status", ProtoField.uint8, "Checksum status", base.DEC, { [0] = "bad", [1] = "good", [2] = "unverified" })
field("checksum.calculated", ProtoField.uint8, "Calculated checksum", base.HEX)
field("payload", ProtoField.bytes, "Payload")
field("auth.counter", ProtoField.uint64, "Packet counter")
field("auth.tag", ProtoField.bytes, "Authentication tag")
field("padding", ProtoField.bytes, "Padding")

field("hello", ProtoField.string, "Hello of host monitor start")
field("hello.asks", ProtoField.bool, "Asks host monitors for a Hello")

field("syn.uuid", ProtoField.string, "UUID")
field("syn.ostype", ProtoField.string, "Operating system")
field("syn.ver_vmm_lower", ProtoField.string, "Lowest version of the VMM")
field("syn.ver_vmm_upper", ProtoField.string, "Highest version of the VMM")
field("syn.ver_hm_running", ProtoField.string, "Running version")
field("syn.ver_hm_lower", ProtoField.string, "Lowest version of the HM")
field("syn.ver_hm_upper", ProtoField.string, "Highest version of the HM")
field("syn.version_conflict", ProtoField.string, "Version conflict")
field("syn.n", ProtoField.string, "Mark of this attempt")
field("syn.re", ProtoField.string, "Mark of the attempt that is answered")
field("syn.nonce", ProtoField.string, "Nonce")
field("syn.auth", ProtoField.string, "Verifies by")
field("syn.kid", ProtoField.string, "Key id offered")
field("syn.authtx", ProtoField.string, "Will send authenticated packets")
field("syn.other", ProtoField.string, "Unknown pair")
local SYN_KEYS = {
    uuid = "syn.uuid", ostype = "syn.ostype", n = "syn.n", re = "syn.re", nonce = "syn.nonce", auth = "syn.auth",
    kid = "syn.kid", authtx = "syn.authtx", versionConflict = "syn.version_conflict",
    verVmmLower = "syn.ver_vmm_lower", verVmmUpper = "syn.ver_vmm_upper", verHmRunning = "syn.ver_hm_running",
    verHmLower = "syn.ver_hm_lower", verHmUpper = "syn.ver_hm_upper",
}

field("msg", ProtoField.string, "Message")
field("msg.text", ProtoField.string, "Text")
field("msg.length", ProtoField.uint32, "Message length")
field("msg.interval", ProtoField.uint32, "Heartbeat interval (ms)")
field("msg.tag", ProtoField.string, "Tag")
field("msg.what", ProtoField.string, "Asked for")
field("msg.xml", ProtoField.string, "Report")
field("msg.ms", ProtoField.uint32, "Announced silence (ms)")
field("msg.reason", ProtoField.string, "Reason")
field("msg.doorbell", ProtoField.uint32, "Doorbell", base.HEX)
local DOORBELL = {
    { "connected", 0x02 }, { "suspension", 0x04 }, { "configuration", 0x08 },
    { "dependency", 0x10 }, { "status", 0x20 }, { "restarts", 0x40 },
}
for _, bit in ipairs(DOORBELL) do
    field("msg.doorbell." .. bit[1], ProtoField.bool, bit[1], 32, nil, bit[2])
end
field("part", ProtoField.bytes, "Part of a message")
field("part.frame", ProtoField.framenum, "Part in frame")
field("msg.frame", ProtoField.framenum, "Message complete in frame")

field("path", ProtoField.uint32, "Path (pair of addresses) in this capture")
field("vm", ProtoField.string, "VM, by the latest SYN on this path")
field("ack_of", ProtoField.framenum, "Acknowledges the packet in frame", base.NONE, frametype and frametype.ACK)
field("ack_in", ProtoField.framenum, "Acknowledged in frame", base.NONE, frametype and frametype.ACK)
field("ack_delay", ProtoField.double, "Time since that packet was first sent (s)")
field("repeats", ProtoField.framenum, "Repeats the packet in frame")
field("hb_delta", ProtoField.double, "Time since the previous heartbeat of this path (s)")

hvncp.fields = f

local e = {}
local function expert_field(name, text, group, severity)
    e[name] = ProtoExpert.new("hvncp.expert." .. name, text, group, severity)
end
local MALFORMED, PROTOCOL = expert.group.MALFORMED, expert.group.PROTOCOL
local ERROR, WARN, NOTE = expert.severity.ERROR, expert.severity.WARN, expert.severity.NOTE
expert_field("short", "Shorter than a header: dropped", MALFORMED, ERROR)
expert_field("length", "Payload or trailer do not fit into the frame: dropped", MALFORMED, ERROR)
expert_field("checksum", "Wrong checksum: dropped", expert.group.CHECKSUM, ERROR)
expert_field("cut", "The capture holds only a part of this frame", expert.group.UNDECODED, NOTE)
expert_field("major", "Another major version: dropped, a version conflict", PROTOCOL, WARN)
expert_field("flags", "Flags that no packet has: dropped", MALFORMED, WARN)
expert_field("ignored", "Ignored by its receiver", PROTOCOL, NOTE)
expert_field("hello", "No identifier of a host monitor's start: dropped", MALFORMED, WARN)
expert_field("syn", "Malformed SYN: dropped", MALFORMED, WARN)
expert_field("uuid", "No UUID of a VM: it cannot be managed", PROTOCOL, WARN)
expert_field("conflict", "No common version", PROTOCOL, WARN)
expert_field("message", "A message that nobody understands", MALFORMED, WARN)
expert_field("priority", "Not the priority of this message", PROTOCOL, NOTE)
expert_field("repeated", "Sent again (not acknowledged in time, or lost)", expert.group.SEQUENCE, WARN)
expert_field("reused", "A number used again at once for another packet", expert.group.SEQUENCE, NOTE)
hvncp.experts = e

---------------------------------------------------------------------------------------------------- preferences

-- A text, because Wireshark shows a number here in decimal only.
hvncp.prefs.ethertype = Pref.string("EtherType", "0x88B5", "EtherType of the frames, as in the daemons' settings")

local ethertypes = DissectorTable.get("ethertype")
local registered

local function register()
    local wanted = tonumber(hvncp.prefs.ethertype) or DEFAULT_ETHERTYPE
    if wanted ~= math.floor(wanted) or wanted < 0x0600 or wanted > 0xFFFF then wanted = DEFAULT_ETHERTYPE end
    if wanted == registered then return end
    if registered then ethertypes:remove(registered, hvncp) end
    ethertypes:add(wanted, hvncp)
    registered = wanted
end

function hvncp.prefs_changed() register() end

---------------------------------------------------------------------------------------------------- small helpers

local function has_bit(value, mask)
    return math.floor(value / mask) % 2 == 1
end

local function printable(text, longest)
    local clean = text:sub(1, longest or MAX_INFO):gsub("[^\32-\126]", ".")
    return #text > #clean and clean .. "..." or clean
end

-- A decimal number up to `largest` (below 2^53), without sign.
local function decimal(text, largest)
    local digits = text and text:match("^0*(%d+)$")
    local value = digits and #digits <= 15 and tonumber(digits)
    return value and value <= largest and value or nil
end

-- Decimal, of 64 bits, perhaps negative. Lua's numbers are too short for it.
local function is_tag(text)
    local sign, digits = text:match("^(%-?)0*(%d+)$")
    local limit = sign == "-" and "9223372036854775808" or "9223372036854775807"
    return digits ~= nil and (#digits < #limit or (#digits == #limit and digits <= limit))
end

local function is_hex(text, length)
    return text ~= nil and #text == length and text:match("^%x*$") ~= nil
end

local function is_uuid(text)
    local x = "%x%x%x%x"
    local form = "^" .. x .. x .. "%-" .. x .. "%-" .. x .. "%-" .. x .. "%-" .. x .. x .. x .. "$"
    return text:match(form) ~= nil and text:match("[^0%-]") ~= nil
end

local function is_version(text)
    local major, minor = (text or ""):match("^(%d+)%.(%d+)$")
    return decimal(major, 255) ~= nil and decimal(minor, 255) ~= nil
end

-- `key=value` joined by `:`. Gives a list of { key, value, place in the text } and the values by key, or nothing and
-- what is wrong.
local function pairs_of(text)
    if #text > MAX_SYN_BYTES then return nil, "longer than " .. MAX_SYN_BYTES .. " bytes" end
    if text:find("[^\32-\126]") then return nil, "not printable" end
    local list, values, at = {}, {}, 1
    for pair in (text .. ":"):gmatch("([^:]*):") do
        local key, value = pair:match("^([^=]+)=([^=]*)$")
        if not key then return nil, "not a pair: " .. printable(pair) end
        if values[key] then return nil, "twice: " .. key end
        values[key] = value
        list[#list + 1] = { key, value, at - 1, #pair }
        at = at + #pair + 1
    end
    return list, values
end

---------------------------------------------------------------------------------------------------- packets

-- The packet in a frame as a table, or what is wrong with it. `cut`: the capture does not hold all of it.
local function decode(tvb)
    local reported, captured = tvb:reported_len(), tvb:len()
    if captured < HEADER then return nil, reported < HEADER and "short" or "cut" end
    local p = { major = tvb(0, 1):uint(), minor = tvb(1, 1):uint(), number = tvb(2, 1):uint(), bits = tvb(3, 1):uint() }
    for _, flag in ipairs(FLAGS) do p[flag[1]] = has_bit(p.bits, flag[2]) end
    p.length, p.reserved, p.checksum = tvb(4, 2):uint(), tvb(6, 1):uint(), tvb(7, 1):uint()
    -- A Hello has no trailer, whatever its flags say.
    p.trailer = p.auth and not p.hel
    p.size = HEADER + p.length + (p.trailer and TRAILER or 0)
    p.fits = p.size <= reported
    p.whole = p.size <= captured
    local there = math.min(p.length, captured - HEADER)
    p.payload = there > 0 and tvb:raw(HEADER, there) or ""
    if p.whole then
        local bytes, sum = tvb:raw(0, p.size), 0
        for at = 1, #bytes do sum = sum + bytes:byte(at) end
        p.sum = (sum - p.checksum) % 256
    end
    -- Whether its receiver looks at it at all.
    p.valid = p.whole and p.sum == p.checksum and (p.major == MAJOR or p.hel)
    return p
end

-- Why no packet has these flags; nothing if they are in order.
local function flag_fault(p)
    if p.hel then return nil end
    if p.syn and not p.ack then
        if not p.ackr then return "a SYN without ACKR" end
        if p.beg == p["end"] then return "a SYN has one of BEG and END" end
        if p.auth then return "a SYN has no trailer" end
    elseif not p.syn and not p.ack then
        if not p.ackr and not (p.beg and p["end"] and p.pri) then return "neither ACKR nor a heartbeat's flags" end
        if p.ackr and p.pri and not (p.beg and p["end"]) then return "an urgent message is one packet" end
    end
    return nil
end

-- As docs/protocol.md writes them: SYN first. By all their bits, because every frame needs them.
local flag_texts = {}

local function flag_names(p)
    if flag_texts[p.bits] then return flag_texts[p.bits] end
    local names = { p.syn and "SYN" or nil }
    for _, flag in ipairs(FLAGS) do
        if p[flag[1]] and flag[1] ~= "syn" then names[#names + 1] = flag[1]:upper() end
    end
    flag_texts[p.bits] = #names > 0 and table.concat(names, "|") or "no flags"
    return flag_texts[p.bits]
end

---------------------------------------------------------------------------------------------------- following

-- What was found out about frames, by number. Nearly all are heartbeats, of which there may be millions: their paths and
-- distances have lists of their own, so that they need no table each.
local found, path_of_frame, beat_delta = {}, {}, {}
-- Directions by "source>destination"; paths by their two addresses.
local directions, paths, path_count = {}, {}, 0

function hvncp.init()
    found, path_of_frame, beat_delta = {}, {}, {}
    directions, paths, path_count = {}, {}, 0
end

local function new_sequence()
    return { sent = {}, parts = {}, part_bytes = 0 }
end

local function direction(from, to)
    local key = from .. ">" .. to
    local d = directions[key]
    if not d then
        d = { syn = new_sequence(), urgent = new_sequence(), normal = new_sequence() }
        directions[key] = d
    end
    return d
end

-- The path of a packet; another value from each SYN on that names another VM.
local function path_of(one, other, p)
    local key = one < other and one .. "|" .. other or other .. "|" .. one
    local path = paths[key]
    if not path then
        path_count = path_count + 1
        path = { index = path_count }
    end
    local vm = p.syn and p.beg and not p.ack and p.payload:match("^uuid=([%x%-]+)")
    if vm and vm ~= path.vm then path = { index = path.index, vm = vm } end
    paths[key] = path
    return path
end

local function sequence_of(d, p)
    return p.syn and d.syn or p.pri and d.urgent or d.normal
end

-- The number without its wrap from 255 to 0: the nearest to the latest one. Only normal packets need it, whose parts
-- may be more than 256.
local function unwrapped(sequence, number)
    local last = sequence.last
    local ahead = last and (number - last + 128) % 256 - 128 or 0
    local value = (last or number) + ahead
    sequence.last = math.max(last or value, value)
    return value
end

-- The first packet of a new channel's numbers ends the old channel's (N-7 of the protocol).
local function pass_gate(d, p)
    if d.first and not p.pri and not p.syn and (p.number - d.first) % 256 < WINDOW then
        d.normal, d.first = new_sequence(), nil
    end
end

-- Notes a packet that is to be acknowledged. Gives its record, and whether it was sent before.
local function note_sent(sequence, key, p, now, frame)
    local bytes, known = p.bits .. ":" .. p.payload, sequence.sent[key]
    local fresh = known and now - known.time <= REPEATED_WITHIN
    if fresh and known.bytes == bytes then return known, true end
    local record = { bytes = bytes, time = now, frame = frame, reuses = fresh and known.frame or nil }
    sequence.sent[key] = record
    -- Too old to be acknowledged or repeated.
    sequence.sent[key - 256] = nil
    return record, false
end

-- Walks from a part to the one that begins (step -1) or ends (step 1) its message.
local function edge_of(parts, at, step, now)
    local wanted, other = step < 0 and "beg" or "end", step < 0 and "end" or "beg"
    while not parts[at][wanted] do
        at = at + step
        local part = parts[at]
        if not part or part[other] or now - part.time > PARTS_WITHIN then return nil end
    end
    return at
end

-- Adds a part; gives the message if it is the last that was missing.
local function add_part(sequence, key, p, now, frame)
    sequence.part_bytes = sequence.part_bytes + #p.payload + PART_COST
    if sequence.part_bytes > MAX_PART_BYTES then sequence.parts, sequence.part_bytes = {}, 0 end
    local parts = sequence.parts
    parts[key] = { text = p.payload, beg = p.beg, ["end"] = p["end"], time = now, frame = frame }
    local first, last = edge_of(parts, key, -1, now), edge_of(parts, key, 1, now)
    if not first or not last then return nil end
    local texts, frames = {}, {}
    for at = first, last do
        texts[#texts + 1], frames[#frames + 1] = parts[at].text, parts[at].frame
        sequence.part_bytes = sequence.part_bytes - #parts[at].text - PART_COST
        parts[at] = nil
    end
    return { text = table.concat(texts), frames = frames, frame = frame }
end

local function follow_ack(d_back, p, now, frame, info)
    local sequence = sequence_of(d_back, p)
    local key = p.number
    if sequence == d_back.normal and sequence.last then
        key = sequence.last - (sequence.last - p.number) % 256
    end
    local record = sequence.sent[key]
    if not record then return end
    info.ack_of, info.ack_delay = record.frame, now - record.time
    found[record.frame].ack_in = found[record.frame].ack_in or frame
    if p.syn then
        -- Its sender's channel begins: urgent numbers from 0, normal ones from this.
        d_back.urgent, d_back.first = new_sequence(), p.number
    end
end

local function follow_sent(d, p, now, frame, info)
    pass_gate(d, p)
    local sequence = sequence_of(d, p)
    local key = sequence == d.normal and unwrapped(sequence, p.number) or p.number
    local record, again = note_sent(sequence, key, p, now, frame)
    info.repeats, info.reuses = again and record.frame or nil, record.reuses
    if p.syn or p.pri or (p.beg and p["end"]) then return end
    if again then
        info.message = found[record.frame].message
        return
    end
    local message = add_part(sequence, key, p, now, frame)
    for _, part in ipairs(message and message.frames or {}) do
        -- Its own frame is not in `found` yet.
        (found[part] or info).message = message
    end
end

-- The first look at a valid packet, in the order of the capture.
local function follow(p, pinfo)
    local from, to, now, frame = tostring(pinfo.dl_src), tostring(pinfo.dl_dst), pinfo.rel_ts, pinfo.number
    if to == "ff:ff:ff:ff:ff:ff" then return end
    path_of_frame[frame] = path_of(from, to, p)
    if p.hel then return end
    local d = direction(from, to)
    if p.ack or p.ackr then
        local info = {}
        if p.ack then
            follow_ack(direction(to, from), p, now, frame, info)
        else
            follow_sent(d, p, now, frame, info)
        end
        found[frame] = info
    else
        beat_delta[frame] = d.heartbeat and now - d.heartbeat
        d.heartbeat = now
    end
end

---------------------------------------------------------------------------------------------------- messages

-- A parser gets the tree, the bytes of all and the text behind the word's colon (nothing without one), and gives what
-- the info column says of it; nothing if the message is not understood.
local parsers = {}

local function plain(text)
    return function(_, _, arguments) return not arguments and text or nil end
end
parsers["STOP_HB"], parsers["SUSPEND"], parsers["RESUME"] = plain("STOP_HB"), plain("SUSPEND"), plain("RESUME")

-- The bytes of the last `length` characters of the message.
local function tail(range, length)
    return range(range:len() - length, length)
end

parsers["HB"] = function(tree, _, arguments)
    local name = arguments == "" and "HB:" or arguments == "G" and "HB:G" or nil
    return name and (name == "HB:" and "HB" or name), name
end

parsers["SHDN"] = function(_, _, arguments)
    local known = arguments == "DAEMON" or arguments == "OS"
    return known and "SHDN:" .. arguments or nil, known and "SHDN:" .. arguments
end

parsers["START_HB"] = function(tree, range, arguments)
    if not arguments then
        tree:add(f["msg.interval"], 10000):set_generated()
        return "START_HB"
    end
    local list, values = pairs_of(arguments)
    if not list then return nil end
    local interval = values.interval and decimal(values.interval, 60000)
    if values.interval and (not interval or interval < 100) then return nil end
    if interval then
        tree:add(f["msg.interval"], tail(range, #arguments), interval)
    else
        tree:add(f["msg.interval"], 10000):set_generated()
    end
    return "START_HB:" .. arguments
end

parsers["DBELL"] = function(tree, range, arguments)
    local digits = arguments and arguments:match("^0x(%x+)$")
    if not digits or #digits > 8 then return nil end
    local bits, names, rest = tonumber(digits, 16), {}, tail(range, #arguments)
    local item = tree:add(f["msg.doorbell"], rest, bits)
    for _, bit in ipairs(DOORBELL) do
        item:add(f["msg.doorbell." .. bit[1]], rest, bits)
        if has_bit(bits, bit[2]) then names[#names + 1] = bit[1] end
    end
    local text = #names > 0 and table.concat(names, ", ") or "nothing known"
    item:append_text(" (" .. text .. ")")
    return "DBELL:" .. arguments .. " (" .. text .. ")"
end

parsers["QUIET"] = function(tree, range, arguments)
    local number, reason = (arguments or ""):match("^(%d+):?(.*)$")
    local ms = decimal(number, 4294967295)
    local colon = ms and #arguments > #number
    if not ms or (colon and arguments:sub(#number + 1, #number + 1) ~= ":") then return nil end
    if #reason > MAX_REASON_BYTES or reason:find("[^\32-\126]") then return nil end
    tree:add(f["msg.ms"], tail(range, #arguments)(0, #number), ms)
    if reason ~= "" then tree:add(f["msg.reason"], tail(range, #reason)) end
    return "QUIET:" .. arguments
end

parsers["DYING"] = function(tree, range, arguments)
    if not arguments or arguments == "" then return nil end
    if #arguments > MAX_REASON_BYTES or arguments:find("[^\32-\126]") then return nil end
    tree:add(f["msg.reason"], tail(range, #arguments))
    return "DYING:" .. arguments
end

parsers["QUIET_OK"] = function(tree, range, arguments)
    local ms = decimal(arguments, 4294967295)
    if not ms then return nil end
    tree:add(f["msg.ms"], tail(range, #arguments), ms)
    return "QUIET_OK:" .. arguments
end

local function with_tag(word, rest_field)
    return function(tree, range, arguments)
        local tag, colon, rest = (arguments or ""):match("^(%-?%d+)(:?)(.*)$")
        if not tag or not is_tag(tag) or (colon == ":") ~= (rest_field ~= nil) then return nil end
        if not rest_field and rest ~= "" then return nil end
        tree:add(f["msg.tag"], tail(range, #arguments)(0, #tag))
        if rest_field and rest ~= "" then tree:add_packet_field(f[rest_field], tail(range, #rest), ENC_UTF_8) end
        local shown = word == "PMSG_REQ" and ":" .. rest or word == "PMSG_RSP" and " (" .. #rest .. " bytes)" or ""
        return word .. ":" .. tag .. shown
    end
end
parsers["PMSG_REQ"], parsers["PMSG_RSP"] = with_tag("PMSG_REQ", "msg.what"), with_tag("PMSG_RSP", "msg.xml")
parsers["GMSG"], parsers["CLEAR_DB"] = with_tag("GMSG"), with_tag("CLEAR_DB")

local URGENT = { ["HB:"] = true, ["HB:G"] = true, ["SHDN:DAEMON"] = true, ["SHDN:OS"] = true, QUIET = true }

-- Shows a whole message. `range`: its bytes, nothing if it has none.
local function show_message(tree, range, p)
    if not range then
        tree:add_proto_expert_info(e.message)
        return "? (no text)"
    end
    local text = range:raw()
    local item = tree:add(f["msg.text"], range, printable(text, #text))
    local word, arguments = text:match("^([A-Z_]+):(.*)$")
    if not word then word = text:match("^([A-Z_]+)$") end
    local parse = word and parsers[word]
    local said, name
    if parse then said, name = parse(tree, range, arguments) end
    if not said then
        item:add_proto_expert_info(e.message)
        return "? " .. printable(text)
    end
    name = name or word
    local message = tree:add(f.msg, range, name)
    if (URGENT[name] or false) ~= p.pri then message:add_proto_expert_info(e.priority) end
    return printable(said)
end

---------------------------------------------------------------------------------------------------- showing

local function show_hello(tree, tvb, p)
    if p.length == 0 then
        tree:add(f["hello.asks"], true):set_generated()
        return "Hello? (asks host monitors for one)"
    end
    local item = tree:add(f.hello, tvb(HEADER, p.length), printable(p.payload, #p.payload))
    if #p.payload < 10 or #p.payload > 40 or p.payload:find("[^%d%.]") then item:add_proto_expert_info(e.hello) end
    return "Hello " .. printable(p.payload)
end

-- What is wrong with the values of a SYN; nothing if it is in order.
local function syn_fault(p, v)
    local function not_version(key) return not is_version(v[key]) and key .. " is missing or no version" or nil end
    local function offer_fault()
        if v.auth ~= "hmac-sha256" then return nil end
        local kid = decimal(v.kid or "", 255)
        if not is_hex(v.nonce, 32) then return "nonce is missing or wrong" end
        if not kid or kid < 1 then return "kid is missing or wrong" end
        if v.authtx and v.authtx ~= "0" and v.authtx ~= "1" then return "authtx is wrong" end
    end
    local function marks_fault()
        if v.n and not is_hex(v.n, 8) then return "n is wrong" end
        if v.re and not is_hex(v.re, 8) then return "re is wrong" end
    end
    if p.beg then
        return not_version("verVmmLower") or not_version("verVmmUpper") or marks_fault() or offer_fault()
    end
    if not is_uuid(v.uuid or "") then return "uuid is missing or none" end
    if v.versionConflict == "true" then return not_version("verHmLower") or not_version("verHmUpper") end
    return not_version("verHmRunning") or marks_fault() or offer_fault()
end

local function show_syn(tree, tvb, p)
    local what = flag_names(p) .. " #" .. p.number
    local list, values = pairs_of(p.payload)
    if not list then
        tree:add_proto_expert_info(e.syn, "Malformed SYN (" .. values .. "): dropped")
        return what .. " ? " .. printable(p.payload)
    end
    for _, pair in ipairs(list) do
        local key, value, at, length = pair[1], pair[2], pair[3], pair[4]
        local name, from = SYN_KEYS[key], HEADER + at + #key + 1
        if not name then
            tree:add(f["syn.other"], tvb(HEADER + at, length))
        elseif value == "" then
            tree:add(f[name], tvb(HEADER + at, length), "")
        else
            tree:add(f[name], tvb(from, #value))
        end
    end
    local fault = syn_fault(p, values)
    if fault then
        tree:add_proto_expert_info(e.syn, "Malformed SYN (" .. fault .. "): dropped")
    elseif p.beg and not is_uuid(values.uuid or "") then
        tree:add_proto_expert_info(e.uuid)
    elseif values.versionConflict == "true" then
        tree:add_proto_expert_info(e.conflict)
    end
    return what .. " " .. printable(p.payload)
end

local function show_ack(tree, tvb, p, info)
    if p.length > 0 then
        tree:add(f.payload, tvb(HEADER, p.length)):add_proto_expert_info(e.ignored)
    end
    if info.ack_of then
        tree:add(f.ack_of, info.ack_of):set_generated()
        tree:add(f.ack_delay, info.ack_delay):set_generated()
    end
    local where = info.ack_of and " (frame " .. info.ack_of .. ")" or ""
    return (p.syn and "SYN|" or "") .. "ACK of " .. (p.pri and "urgent " or "") .. "#" .. p.number .. where
end

-- A part, and the message if this frame made it complete.
local function show_part(tree, tvb, p, info)
    if p.length > 0 then tree:add(f.part, tvb(HEADER, p.length)) end
    local message = info.message
    local place = p.beg and "first part" or p["end"] and "last part" or "part"
    if not message then return place .. " of a message #" .. p.number end
    if message.frame ~= p.frame then
        tree:add(f["msg.frame"], message.frame):set_generated()
        return place .. " of the message in frame " .. message.frame .. " #" .. p.number
    end
    local whole = tree:add(hvncp, tvb(HEADER, p.length), "Message of " .. #message.frames .. " packets")
    for _, frame in ipairs(message.frames) do whole:add(f["part.frame"], frame):set_generated() end
    whole:add(f["msg.length"], #message.text):set_generated()
    local range = #message.text > 0 and ByteArray.new(message.text, true):tvb("Whole message")()
    return show_message(whole, range, p) .. " in " .. #message.frames .. " packets #" .. p.number
end

local function show_payload(tree, tvb, p, info)
    if p.hel then return show_hello(tree, tvb, p) end
    if p.ack then return show_ack(tree, tvb, p, info) end
    if p.syn then return show_syn(tree, tvb, p) end
    if p.ackr and not (p.beg and p["end"]) then return show_part(tree, tvb, p, info) end
    local range = p.length > 0 and tvb(HEADER, p.length)
    return show_message(tree, range, p) .. " #" .. p.number
end

local function show_checksum(tree, tvb, p)
    local byte = tvb(7, 1)
    local item = tree:add(f.checksum, byte)
    local status = not p.whole and 2 or p.sum == p.checksum and 1 or 0
    tree:add(f["checksum.status"], byte, status):set_generated()
    if status == 0 then
        tree:add(f["checksum.calculated"], byte, p.sum):set_generated()
        item:append_text(string.format(" [wrong, should be 0x%02x]", p.sum))
        item:add_proto_expert_info(e.checksum)
    elseif status == 1 then
        item:append_text(" [right]")
    end
end

local function show_header(tree, tvb, p)
    local major = tree:add(f.major, tvb(0, 1))
    if p.major ~= MAJOR and not p.hel then major:add_proto_expert_info(e.major) end
    tree:add(f.minor, tvb(1, 1))
    tree:add(f.number, tvb(2, 1))
    local byte = tvb(3, 1)
    local flags = tree:add(f.flags, byte)
    flags:append_text(" (" .. flag_names(p) .. ")")
    for _, flag in ipairs(FLAGS) do flags:add(flag.field, byte) end
    local fault = flag_fault(p)
    if fault then flags:add_proto_expert_info(e.flags, "Flags that no packet has (" .. fault .. "): dropped") end
    local length = tree:add(f.length, tvb(4, 2))
    if not p.fits then length:add_proto_expert_info(e.length) end
    tree:add(p.trailer and f.kid or f.reserved, tvb(6, 1))
    show_checksum(tree, tvb, p)
end

local function show_rest(tree, tvb, p)
    if p.trailer then
        tree:add(f["auth.counter"], tvb(HEADER + p.length, 8))
        tree:add(f["auth.tag"], tvb(HEADER + p.length + 8, 16))
    end
    if tvb:len() > p.size then tree:add(f.padding, tvb(p.size)) end
end

-- What was found about this frame by following.
local function show_found(tree, p, info)
    local path, delta = path_of_frame[p.frame], beat_delta[p.frame]
    if path then tree:add(f.path, path.index):set_generated() end
    if path and path.vm then tree:add(f.vm, path.vm):set_generated() end
    if delta then tree:add(f.hb_delta, delta):set_generated() end
    local ack_in = info.repeats and found[info.repeats].ack_in or info.ack_in
    if ack_in then tree:add(f.ack_in, ack_in):set_generated() end
    if info.repeats then
        tree:add(f.repeats, info.repeats):set_generated():add_proto_expert_info(e.repeated)
    end
    if info.reuses then tree:add_proto_expert_info(e.reused) end
end

-- Shows a packet; gives the text of the info column.
local function show(tree, tvb, p, info)
    show_header(tree, tvb, p)
    if not p.fits then return "[length " .. p.length .. " does not fit]" end
    if not p.whole then
        tree:add_proto_expert_info(e.cut)
        return flag_names(p) .. " #" .. p.number .. " [cut by the capture]"
    end
    local text
    if p.valid then
        text = show_payload(tree, tvb, p, info)
    else
        if p.length > 0 then tree:add(f.payload, tvb(HEADER, p.length)) end
        local why = p.sum ~= p.checksum and "[wrong checksum] " or "[version " .. p.major .. "." .. p.minor .. "] "
        text = why .. flag_names(p) .. " #" .. p.number
    end
    show_rest(tree, tvb, p)
    show_found(tree, p, info)
    return (info.repeats and "[again, see frame " .. info.repeats .. "] " or "") .. text
end

local NOTHING = {}

function hvncp.dissector(tvb, pinfo, tree)
    pinfo.cols.protocol = "HVNCP"
    local p, fault = decode(tvb)
    local item = tree:add(hvncp, tvb())
    if not p then
        item:add_proto_expert_info(e[fault])
        pinfo.cols.info = fault == "short" and "[too short: " .. tvb:len() .. " bytes]" or "[cut by the capture]"
        return tvb:len()
    end
    if p.valid and not pinfo.visited then follow(p, pinfo) end
    p.frame = pinfo.number
    local text = show(item, tvb, p, found[p.frame] or NOTHING)
    item:append_text(", " .. text)
    pinfo.cols.info = text
    return tvb:len()
end

register()
