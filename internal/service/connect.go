package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/service/admin"
)

// Operator is the operator's side of a proxy: its API, of a proxy that runs over a Unix
// socket or TCP, and of one that does not in this process.
type Operator struct {
	*admin.Client
	// Socket is the one that a proxy answers on, or its URL, "" if it does not run.
	// Directory is the store then.
	Socket, Directory string

	stopped *Stopped
}

// Target tells which proxy is meant.
type Target struct {
	// URL is that of its admin listener over TCP, the zero value for none, and Token the
	// token. Then the proxy must run, and the other fields do not count.
	URL   admin.Remote
	Token string
	// Socket is the path of its admin listener, "" if it is to be found. Then the proxy
	// must run.
	Socket string
	// Config is the configuration of the proxy, of which Admin and State tell the socket.
	Config Config
	// Given means that Config is the proxy's. Otherwise it may be a service of the system,
	// too, and a state directory that is missing is an error.
	Given bool
	// Exists means that the state directory of Config must be there: the command makes none.
	Exists bool
	// Command is that of mtwire which is run, for errors that tell how to run it.
	Command string
}

// dialTimeout limits how long it takes to connect to a socket of this machine.
const dialTimeout = 3 * time.Second

// Connect connects to the proxy, or opens its store if it does not run. If a process has
// the store and does not listen, it waits for a moment: that may be a proxy that starts, or
// ends, or another command. The caller calls Close. Errors tell what to do.
func Connect(ctx context.Context, t Target, log *slog.Logger) (*Operator, error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for {
		o, err := t.connect(ctx, log)
		if !errors.Is(err, ErrRuns) {
			return o, err
		}
		select {
		case <-time.After(lockInterval):
		case <-ctx.Done():
			return nil, t.explainLock(err)
		}
	}
}

const (
	// lockTimeout limits how long Connect waits for a store, and lockInterval is the time
	// between two attempts.
	lockTimeout  = 3 * time.Second
	lockInterval = 50 * time.Millisecond
)

// connect is Connect without the wait.
func (t *Target) connect(ctx context.Context, log *slog.Logger) (*Operator, error) {
	o, err := ConnectRunning(ctx, *t)
	if o != nil || err != nil {
		return o, err
	}
	directory, err := stateDirectory(t.Config.State)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(directory); errors.Is(err, fs.ErrNotExist) {
		switch {
		case !t.Given:
			return nil, fmt.Errorf("no proxy runs here, and none has: there is no %s. Start mtwire proxy first, or name the proxy's --config FILE or --state DIRECTORY", directory)
		case t.Exists:
			return nil, fmt.Errorf("no proxy runs with the state directory %s, and none has: there is no such directory", directory)
		}
	}
	stopped, err := OpenStopped(t.Config, log)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: run this as the user of the proxy, %sor as root", err, ownerOf(directory, "", ", "))
	case err != nil:
		return nil, err
	}
	return &Operator{Client: stopped.Client(), Directory: stopped.Directory(), stopped: stopped}, nil
}

// explainLock tells what to do about ErrRuns.
func (t *Target) explainLock(err error) error {
	where := "none of its admin addresses is a Unix socket"
	if sockets := t.sockets(); len(sockets) > 0 {
		where = "no admin listener answers at " + strings.Join(sockets, " or ")
	}
	return fmt.Errorf("%w, and %s: start it with --admin unix, or name its socket with --socket", err, where)
}

// ConnectRunning is Connect for a proxy that runs. If none does, it returns nil.
func ConnectRunning(ctx context.Context, t Target) (*Operator, error) {
	if t.URL != (admin.Remote{}) {
		client := admin.NewRemoteClient(t.URL, t.Token)
		if err := client.Check(ctx); err != nil {
			return nil, err
		}
		return &Operator{Client: client, Socket: t.URL.String()}, nil
	}
	var denied error
	for _, socket := range t.sockets() {
		err := dial(ctx, socket)
		switch {
		case err == nil:
			return &Operator{Client: admin.NewClient(socket), Socket: socket}, nil
		case errors.Is(err, fs.ErrPermission):
			if denied == nil {
				denied = fmt.Errorf("%s: permission denied: the proxy's user can connect, and root: sudo %smtwire %s", socket, ownerOf(socket, "-u ", " "), t.Command)
			}
		case t.Socket != "" && (netx.IsErrno(err, netx.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)):
			return nil, fmt.Errorf("no proxy listens at %s: is it running, with --admin unix:%s?", socket, socket)
		case t.Socket != "":
			return nil, fmt.Errorf("%s: %w", socket, explainUnix(err, socket))
		}
	}
	if denied != nil && !t.hasState() {
		return nil, denied
	}
	return nil, nil
}

// RunningAt returns where a proxy was looked for, for errors.
func (t *Target) RunningAt() string { return strings.Join(t.sockets(), " or ") }

// OperatorToken returns the token of the requests to a proxy over TCP: that of a file or,
// without one, of the environment.
func OperatorToken(file string, log *slog.Logger) (string, error) {
	if file != "" {
		return readToken(file, log)
	}
	token := strings.TrimSpace(os.Getenv(tokenVariable))
	if token == "" {
		return "", errors.New("a proxy over TCP needs its token: --token-file FILE, or $" + tokenVariable)
	}
	return token, checkToken(token)
}

// hasState reports whether this user has the state directory of a proxy.
func (t *Target) hasState() bool {
	directory, err := stateDirectory(t.Config.State)
	if err == nil {
		_, err = os.ReadDir(directory)
	}
	return err == nil
}

// dial returns whether a process listens on a socket.
func dial(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err == nil {
		conn.Close()
	}
	return err
}

// systemSockets are those of a proxy that systemd runs with RuntimeDirectory=mtwire, or
// with StateDirectory=mtwire.
var systemSockets = []string{"/run/mtwire/" + adminSocket, "/var/lib/mtwire/" + adminSocket}

// sockets returns the paths at which the proxy may listen, the first of which is the most
// likely.
func (t *Target) sockets() (sockets []string) {
	if t.Socket != "" {
		return []string{t.Socket}
	}
	add := func(socket string) {
		if !slices.Contains(sockets, socket) {
			sockets = append(sockets, socket)
		}
	}
	if addresses := t.Config.Admin; len(addresses) > 0 {
		for _, address := range addresses {
			if address.Network == "unix" && address.Address != "" {
				add(address.Address)
			}
		}
		if !slices.ContainsFunc(addresses, func(a AdminAddress) bool { return a == AdminAddress{Network: "unix"} }) {
			return sockets
		}
	}
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), string(filepath.ListSeparator)); dir != "" && t.Config.State == "" {
		add(filepath.Join(dir, adminSocket))
	}
	if dir, err := stateDirectory(t.Config.State); err == nil {
		add(filepath.Join(dir, adminSocket))
	}
	if t.Config.State == "" && runtime.GOOS != "windows" {
		for _, socket := range systemSockets {
			add(socket)
		}
	}
	return sockets
}

// Close ends the use of the proxy. Of one that does not run, it writes what has changed.
func (o *Operator) Close() error {
	if o.stopped == nil {
		return nil
	}
	return o.stopped.Close()
}
