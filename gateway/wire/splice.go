package wire

func (s *sending) splice(*upBody) (bool, error) { return false, nil }
