-- ngx.re: split
local _M = {}

function _M.split(subject, regex, options, ctx, max, res)
    res = res or {}
    max = max or 0
    local n, pos = 0, 1
    if regex == "" then
        for i = 1, #subject do
            n = n + 1
            if max > 0 and n == max then
                res[n] = string.sub(subject, i)
                return res
            end
            res[n] = string.sub(subject, i, i)
        end
        return res
    end
    local from = {pos = 1}
    while pos <= #subject + 1 do
        if max > 0 and n == max - 1 then
            break
        end
        from.pos = pos
        local m, err = ngx.re.match(subject, regex, options, from)
        if err then
            return nil, err
        end
        if not m then
            break
        end
        local stop = from.pos
        if #m[0] == 0 then
            break
        end
        n = n + 1
        res[n] = string.sub(subject, pos, stop - #m[0] - 1)
        for i = 1, #m do
            if m[i] then
                n = n + 1
                res[n] = m[i]
            end
        end
        pos = stop
    end
    if pos <= #subject then
        n = n + 1
        res[n] = string.sub(subject, pos)
    end
    return res
end

function _M.opt() end

return _M
