-- apisix.core.table; marked(c, t) makes c an empty array of JSON if t is one
local _M = {}

for name, f in pairs(table) do
    _M[name] = f
end
_M.sort, _M.concat, _M.insert, _M.remove = table.sort, table.concat, table.insert, table.remove

function _M.clear(t)
    for k in pairs(t) do
        t[k] = nil
    end
    return t
end

function _M.nkeys(t)
    local n = 0
    for _ in pairs(t) do
        n = n + 1
    end
    return n
end

function _M.isempty(t)
    return next(t) == nil
end

function _M.isarray(t)
    if type(t) ~= "table" then
        return false
    end
    local n = 0
    for k in pairs(t) do
        if type(k) ~= "number" or k <= 0 or k % 1 ~= 0 then
            return false
        end
        n = n + 1
    end
    return n == #t
end

function _M.clone(t)
    local c = {}
    for k, v in pairs(t) do
        c[k] = v
    end
    return c
end

function _M.insert_tail(t, ...)
    local n = #t
    for i = 1, select("#", ...) do
        n = n + 1
        t[n] = (select(i, ...))
    end
    return n
end

function _M.set(t, ...)
    for i = 1, select("#", ...) do
        t[i] = (select(i, ...))
    end
end

function _M.try_read_attr(t, ...)
    for i = 1, select("#", ...) do
        if type(t) ~= "table" then
            return nil
        end
        t = t[(select(i, ...))]
    end
    return t
end

function _M.array_find(array, val)
    if type(array) ~= "table" then
        return nil
    end
    for i, v in ipairs(array) do
        if v == val then
            return i
        end
    end
    return nil
end

local function copy(t, seen, path, opts)
    if type(t) ~= "table" then
        return t
    end
    if seen[t] then
        return seen[t]
    end
    local c = {}
    seen[t] = c
    for k, v in pairs(t) do
        local at = path == "" and tostring(k) or path .. "." .. tostring(k)
        if opts and _M.array_find(opts.shallows, at) then
            c[k] = v
        else
            c[copy(k, seen, at)] = copy(v, seen, at, opts)
        end
    end
    return marked(setmetatable(c, getmetatable(t) or nil), t)
end

function _M.deepcopy(t, opts)
    return copy(t, {}, "self", opts)
end

local function merge(origin, extend)
    for k, v in pairs(extend) do
        if type(v) == "table" and type(origin[k]) == "table" and not _M.isarray(v) then
            merge(origin[k], v)
        else
            origin[k] = v
        end
    end
    return origin
end
_M.merge = merge

function _M.set_eq(a, b)
    for k in pairs(a) do
        if b[k] == nil then
            return false
        end
    end
    for k in pairs(b) do
        if a[k] == nil then
            return false
        end
    end
    return true
end

local function deep_eq(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a == b
    end
    for k, v in pairs(a) do
        if not deep_eq(v, b[k]) then
            return false
        end
    end
    for k in pairs(b) do
        if a[k] == nil then
            return false
        end
    end
    return true
end
_M.deep_eq = deep_eq

function _M.pick(obj, attrs)
    local out = {}
    for k, v in pairs(obj) do
        if attrs[k] ~= nil then
            out[k] = v
        end
    end
    return out
end

local pool = {}
function _M.fetch()
    return {}
end
function _M.release() end
_M.pool = pool

function _M.setmt__gc(t, mt)
    return setmetatable(t, mt)
end

return _M
