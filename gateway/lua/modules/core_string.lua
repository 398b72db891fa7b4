-- apisix.core.string
local _M = {}

for name, f in pairs(string) do
    _M[name] = f
end

function _M.find(haystack, needle, from)
    return string.find(haystack, needle, from or 1, true)
end

function _M.has_prefix(s, prefix)
    if type(s) ~= "string" or type(prefix) ~= "string" then
        error("unexpected type: s:" .. type(s) .. ", prefix:" .. type(prefix))
    end
    return string.sub(s, 1, #prefix) == prefix
end

function _M.has_suffix(s, suffix)
    if type(s) ~= "string" or type(suffix) ~= "string" then
        error("unexpected type: s:" .. type(s) .. ", suffix:" .. type(suffix))
    end
    return #s >= #suffix and (suffix == "" or string.sub(s, -#suffix) == suffix)
end

function _M.rfind_char(s, ch, idx)
    local b = string.byte(ch)
    for i = idx or #s, 1, -1 do
        if string.byte(s, i, i) == b then
            return i
        end
    end
    return nil
end

function _M.compress_script(s)
    s = string.gsub(s, "\n%s*\n", "\n")
    s = string.gsub(s, "%s+", " ")
    return s
end

function _M.decode_args(args)
    return ngx.decode_args(args, 0)
end

function _M.encode_args(args)
    return ngx.encode_args(args)
end

return _M
