package client

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

var errSlow = errors.New("slower than the minimum rate")

// meter ends a transfer in which a window passes with too few bytes.
type meter struct {
	bytes  atomic.Int64
	idle   atomic.Bool // nobody waits for the network: that time does not count
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// looks in a window: how often it is seen whether somebody waits.
const looks = 10

func (c *Client) meter(ctx context.Context) (context.Context, *meter) {
	ctx, cancel := context.WithCancelCause(ctx)
	m := &meter{cancel: cancel, done: make(chan struct{})}
	window := c.cfg.Limits.Window
	floor := int64(float64(c.cfg.Limits.MinRate) * window.Seconds())
	go func() {
		ticker := time.NewTicker(max(window/looks, time.Millisecond))
		defer ticker.Stop()
		for passed := 0; ; {
			select {
			case <-m.done:
				return
			case <-ctx.Done():
				return
			case <-ticker.C:
				if m.idle.Load() {
					continue
				}
				if passed++; passed%looks == 0 && m.bytes.Swap(0) < floor {
					cancel(errSlow)
					return
				}
			}
		}
	}()
	return ctx, m
}

func (m *meter) stop() {
	close(m.done)
	m.cancel(nil)
}

func (m *meter) count(r io.Reader) io.Reader { return countingReader{m, r} }

type countingReader struct {
	m *meter
	r io.Reader
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.m.bytes.Add(int64(n))
	return n, err
}
