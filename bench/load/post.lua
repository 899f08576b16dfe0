-- A POST of 4 KB; the body is always the same, so the hot path stays wrk's own C.
dofile(debug.getinfo(1).source:match("@(.*/)") .. "wrk.lua")
wrk.method = "POST"
wrk.body = string.rep("x", 4096)
