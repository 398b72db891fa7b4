package plugins

import "fmt"

// BodyTooLargeError is returned by Ctx.Body for a body above the limit.
type BodyTooLargeError struct {
	Size, Limit int64 // bytes; Size is what was announced or read so far
}

func (e *BodyTooLargeError) Error() string {
	return fmt.Sprintf("request size %d is greater than the maximum size %d allowed", e.Size, e.Limit)
}
