package memory

// batch is the updates that go to the disk together. Others see what they
// wrote at once, but are answered only when it is there: see View.
type batch struct {
	lines []byte
	txs   []*tx
	done  chan struct{} // closed when err is known
	err   error
}

// wait returns when the batch is on the disk, or else why it is not.
func (b *batch) wait() error {
	if b == nil {
		return nil
	}
	<-b.done
	return b.err
}

// queue adds an update to the batch that is written next. Who is first has to
// commit it. s.mu is held.
func (s *Store) queue(t *tx) (b *batch, first bool, err error) {
	line, err := encode(&t.rec)
	if err != nil {
		return s.last, false, err
	}
	if first = s.next == nil; first {
		s.next = &batch{done: make(chan struct{})}
	}
	b = s.next
	s.last = b
	b.lines = append(b.lines, line...)
	b.txs = append(b.txs, t)
	return b, first, nil
}

// commit writes the batch when those before it are written. Until then more
// updates join it.
func (s *Store) commit(b *batch) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.mu.Lock()
	if s.next != b { // it is written, or failed with what it was built on
		s.mu.Unlock()
		return
	}
	s.next = nil
	s.mu.Unlock()
	err := s.log.write(b.lines)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.next != nil {
			s.next.fail(err)
			s.next = nil
		}
		b.fail(err)
		s.last = nil // what is left is on the disk
		return
	}
	s.finish(b)
	if s.log.size > smallest && s.log.size > growth*s.log.fresh {
		s.rewrite()
	}
}

// finish answers the updates of a batch that is on the disk. s.mu is held.
func (s *Store) finish(b *batch) {
	close(b.done)
	for _, t := range b.txs {
		s.announce(t)
	}
}

// rewrite makes the file smaller. It then has the batch, too, that would be
// written next. When that fails the file stays as it is, and grows as much
// again before the next try. s.mu and s.log.mu are held.
func (s *Store) rewrite() {
	if s.log.replace(s.everything()) != nil {
		s.log.fresh = s.log.size
		return
	}
	if s.next != nil {
		s.finish(s.next)
		s.next = nil
	}
}

// fail takes the updates back, last first. The store's mu is held.
func (b *batch) fail(err error) {
	for i := len(b.txs) - 1; i >= 0; i-- {
		b.txs[i].undo()
	}
	b.err = err
	close(b.done)
}
