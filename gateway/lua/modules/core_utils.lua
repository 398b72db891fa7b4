-- apisix.core.utils
local _M = {}

function _M.sleep(sec)
    ngx.sleep(sec)
end

function _M.split_uri(uri)
    local parts = {}
    for part in string.gmatch(uri .. "/", "([^/]*)/") do
        parts[#parts + 1] = part
    end
    return parts
end

function _M.parse_ipv4(ip)
    if type(ip) ~= "string" then
        return nil
    end
    local a, b, c, d = string.match(ip, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    if not a or tonumber(a) > 255 or tonumber(b) > 255 or tonumber(c) > 255 or tonumber(d) > 255 then
        return nil
    end
    return ((tonumber(a) * 256 + tonumber(b)) * 256 + tonumber(c)) * 256 + tonumber(d)
end

function _M.parse_addr(addr)
    local host, port = string.match(addr, "^(%b[]):(%d+)$")
    if host then
        return host, tonumber(port)
    end
    if string.find(addr, "^%b[]$") then
        return addr, nil
    end
    host, port = string.match(addr, "^([^:]+):(%d+)$")
    if host then
        return host, tonumber(port)
    end
    return addr, nil
end

function _M.uri_safe_encode(uri)
    local parts = _M.split_uri(uri)
    for i, part in ipairs(parts) do
        parts[i] = ngx.escape_uri(part)
    end
    return table.concat(parts, "/")
end

function _M.escape_uri_control_chars(uri)
    return (string.gsub(uri, "[%c ]", function(c)
        return string.format("%%%02X", string.byte(c))
    end))
end

function _M.validate_header_field(field)
    return #field > 0 and not string.find(field, "[^%w!#$%%&'*+%-.^_`|~]")
end

function _M.validate_header_value(value)
    return not string.find(tostring(value), "[%c\127]")
end

function _M.gethostname()
    return ngx.var.hostname or "localhost"
end

function _M.resolve_var(text, vars, escaper)
    if not text then
        return text
    end
    local n = 0
    local function value(name, default)
        local v = vars[name]
        if v == nil or v == "" then
            return default or ""
        end
        n = n + 1
        v = tostring(v)
        return escaper and escaper(v) or v
    end
    local out = string.gsub(text, "%$(%b{})", function(inner)
        local name, default = string.match(inner, "^{%s*([%w_]+)%s*%?%?%s*(.-)%s*}$")
        if not name then
            name = string.match(inner, "^{%s*([%w_]+)%s*}$")
        end
        if not name then
            return nil
        end
        return value(name, default)
    end)
    out = string.gsub(out, "%$([%w_]+)", function(name)
        return value(name)
    end)
    return out, nil, n
end

return _M
