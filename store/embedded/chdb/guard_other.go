//go:build !amd64

package chdb

import "errors"

func guardWrites(uintptr, string, uintptr) error {
	return errors.New("its writes cannot be guarded on this architecture")
}
