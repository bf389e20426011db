package request

// UsageError is a command that lacks something only the user can say.
type UsageError struct{ Message, Next string }

func (e *UsageError) Error() string { return e.Message }

// Hint is what to do next.
func (e *UsageError) Hint() string { return e.Next }
