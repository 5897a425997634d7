package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/weirhq/weir/internal/instance"
)

// admin asks an instance over its socket for calls that change something. body is sent, and the answer read into into, unless nil. It returns the
// status of the answer, which is one of success.
func admin(ctx context.Context, in instance.Instance, method, path string, body, into any) (status int, err error) {
	resp, err := adminDo(ctx, in, method, path, body)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			return resp.StatusCode, fmt.Errorf("ask weir for %s: %w", path, err)
		}
	}
	return resp.StatusCode, nil
}

// adminDo is admin for answers that the caller reads, and closes.
func adminDo(ctx context.Context, in instance.Instance, method, path string, body any) (*http.Response, error) {
	if in.Admin == "" {
		return nil, fmt.Errorf("ask weir for %s: the instance in %q is a collector alone: ask at policyd", path, in.Data)
	}
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("ask weir for %s: %w", path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://weir"+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("ask weir for %s: %w", path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := socketClient(in.Admin).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask weir: %w", err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, refusal(resp, path)
	}
	return resp, nil
}
