package cli

import (
	"encoding/json"
	"fmt"
)

// WriteJSON writes v, which is not about flows, as indented JSON: a listing as an array, never null.
func WriteJSON[T any](o *Output, v T) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	if string(b) == "null" {
		b = []byte("[]")
	}
	_, err = o.W.Write(append(b, '\n'))
	return err
}
