-- coroutine.resume and coroutine.wrap that pass on what must end the whole call
local resume, create, over = ...

local function pass(...)
    over()
    return ...
end

local function strict(ok, ...)
    over()
    if not ok then
        error((...), 0)
    end
    return ...
end

return function(co, ...)
    return pass(resume(co, ...))
end, function(f)
    local co = create(f)
    return function(...)
        return strict(resume(co, ...))
    end
end
