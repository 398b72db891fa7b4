-- apisix.core.lrucache: a cache that is emptied when it is full
local _M = {}

local function new(opts)
    opts = opts or {}
    local count, ttl = opts.count or 1024, opts.ttl
    local items, n = {}, 0
    return function(key, version, create, ...)
        local it = items[key]
        local now = ttl and ngx.now()
        if it and it.version == version and (not ttl or it.at + ttl > now) then
            return it.value
        end
        local value, err = create(...)
        if value == nil then
            return nil, err
        end
        if not it then
            if n >= count then
                items, n = {}, 0
            end
            n = n + 1
        end
        items[key] = {value = value, version = version, at = now}
        return value
    end
end

_M.new = new
_M.global = new({count = 1024})

local function ident(ctx, extra)
    local key = (ctx.conf_type or "") .. "#" .. (ctx.conf_id or "")
    if extra then
        key = key .. "#" .. tostring(extra)
    end
    return key, ctx.conf_version
end

function _M.plugin_ctx(cache, ctx, extra, create, ...)
    local key, version = ident(ctx, extra)
    return cache(key, version, create, ...)
end

function _M.plugin_ctx_id(ctx, extra)
    local key, version = ident(ctx, extra)
    return key .. "#" .. tostring(version)
end

return _M
