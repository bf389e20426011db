package protocol

import (
	"bytes"
)

// PieceSize is how much text one item has about, in bytes.
const PieceSize = 256 << 10

// Pieces gives a long text in items of whole lines.
type Pieces struct {
	out  *Writer
	text []byte
}

func (w *Pieces) Write(p []byte) (int, error) {
	w.text = append(w.text, p...)
	if len(w.text) < PieceSize {
		return len(p), nil
	}
	return len(p), w.flush(bytes.LastIndexByte(w.text, '\n') + 1)
}

func (w *Pieces) flush(n int) error {
	if n == 0 {
		return nil
	}
	err := w.out.Item(string(w.text[:n]))
	w.text = append(w.text[:0], w.text[n:]...)
	return err
}

// End gives what is left.
func (w *Pieces) End() error { return w.flush(len(w.text)) }

// Pieces takes a text that is an answer in parts.
func (e *Writer) Pieces() *Pieces { return &Pieces{out: e} }
