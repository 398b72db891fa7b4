package lua

import (
	"time"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
)

// timer is a function to be called after the request. It belongs to the state
// that made it: the state stays out of the pool until it ran.
type timer struct {
	at   time.Time
	fn   *lua.LFunction
	args []lua.LValue
	cur  *loaded
}

func (s *state) timerAt(l *lua.LState) int {
	delay := l.CheckNumber(1)
	if delay < 0 {
		l.ArgError(1, "invalid delay")
	}
	fn := l.CheckFunction(2)
	d := lib.Duration(delay, time.Second)
	if d > s.h.o.Blocking {
		return lib.Fail(l, "delay is longer than "+s.h.o.Blocking.String())
	}
	if int(s.h.timers.Add(1)) > s.h.o.Timers {
		s.h.timers.Add(-1)
		return lib.Fail(l, "too many pending timers")
	}
	t := timer{at: time.Now().Add(d), fn: fn, cur: s.cur}
	for i := 3; i <= l.GetTop(); i++ {
		t.args = append(t.args, l.Get(i))
	}
	s.timers = append(s.timers, t)
	l.Push(lua.LNumber(1))
	return 1
}

func (s *state) timerCount(l *lua.LState) int {
	l.Push(lua.LNumber(s.h.timers.Load()))
	return 1
}

// runLater runs timers on a goroutine that the Host waits for, one after the
// other, and then gives the state back.
func (s *state) runLater(timers []timer) {
	s.h.work.Go(func() {
		for len(timers) > 0 {
			first := 0
			for i := range timers {
				if timers[i].at.Before(timers[first].at) {
					first = i
				}
			}
			t := timers[first]
			timers = append(timers[:first], timers[first+1:]...)
			premature := s.waitUntil(t.at)
			if !s.spoilt {
				timers = append(timers, s.fire(t, premature)...)
			}
			s.h.timers.Add(-1)
		}
		s.h.give(s)
	})
}

// waitUntil reports whether the Host was closed before.
func (s *state) waitUntil(at time.Time) (premature bool) {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-s.h.ctx.Done():
		return true
	}
}

// fire calls a timer's function and returns those that it made.
func (s *state) fire(t timer, premature bool) []timer {
	s.phase, s.cur = "timer", t.cur
	s.b.Start(s.h.o.Budget)
	s.l.Push(t.fn)
	s.l.Push(lua.LBool(premature))
	for _, a := range t.args {
		s.l.Push(a)
	}
	err := s.l.PCall(1+len(t.args), 0, nil)
	if err != nil && !s.exit.asked {
		s.h.o.Log.Error("lua timer failed", "err", plain(err))
	}
	if !s.b.Stop() {
		s.spoilt = true
	}
	s.empty(s.cur.env)
	more := s.timers
	s.call = call{out: s.out[:0]}
	s.l.SetTop(0)
	s.clearViews()
	if premature {
		s.h.timers.Add(-int32(len(more)))
		return nil
	}
	return more
}
