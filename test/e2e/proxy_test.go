package e2e

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// cable is a TCP connection to a dependency that a test can cut.
type cable struct {
	addr    string // where the service connects to
	network string
	target  string

	mu    sync.Mutex
	cut   bool
	hung  chan struct{} // not nil: nothing passes until it is closed
	lose  bool          // the next bytes that come back are lost, and the connection with them
	conns map[net.Conn]bool

	sent atomic.Int64 // bytes to the target
}

// newCable lays a cable to a target, such as tcp 127.0.0.1:8200.
func newCable(t testing.TB, network, target string) *cable {
	t.Helper()
	l := must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	c := &cable{addr: l.Addr().String(), network: network, target: target, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		_ = l.Close()
		c.disconnect()
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(conn)
		}
	}()
	return c
}

// carry joins one connection to the target.
func (c *cable) carry(near net.Conn) {
	defer near.Close()
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	if cut {
		return
	}
	far, err := net.Dial(c.network, c.target)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	c.conns[near], c.conns[far] = true, true
	c.mu.Unlock()
	done := make(chan bool, 2)
	go func() {
		_, _ = io.Copy(far, io.TeeReader(near, (*requests)(c)))
		done <- true
	}()
	go func() {
		_, _ = io.Copy(answers{near, c}, far)
		done <- true
	}()
	<-done
	c.mu.Lock()
	delete(c.conns, near)
	delete(c.conns, far)
	c.mu.Unlock()
}

// requests counts the bytes that go to the target.
type requests cable

func (r *requests) Write(b []byte) (int, error) {
	r.sent.Add(int64(len(b)))
	return len(b), nil
}

// answers are the bytes on their way back.
type answers struct {
	io.Writer
	cable *cable
}

func (a answers) Write(b []byte) (int, error) {
	a.cable.mu.Lock()
	lost, hung := a.cable.lose, a.cable.hung
	a.cable.lose = false
	a.cable.mu.Unlock()
	if hung != nil {
		<-hung
	}
	if lost {
		return 0, io.ErrClosedPipe
	}
	return a.Writer.Write(b)
}

// unplug cuts every connection and refuses new ones until plug.
func (c *cable) unplug() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	c.disconnect()
}

func (c *cable) plug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
}

// hang keeps connections as they are and lets no answer pass, as a network does
// that drops packets, until the returned function is called.
func (c *cable) hang() (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hung := make(chan struct{})
	c.hung = hung
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.hung = nil
		close(hung)
	}
}

// loseAnswer loses the next answer of the target.
func (c *cable) loseAnswer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = true
}

func (c *cable) disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close()
	}
}
