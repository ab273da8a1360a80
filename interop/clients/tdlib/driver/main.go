// Driver drives TDLib in interop/run, as the shared library that is distributed as
// a package. For a case it has TDLib test a proxy or, with endpoint session, open a
// session. "driver version" prints the library's version.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3:
		var c tdlibCase
		if err := json.Unmarshal([]byte(args[2]), &c); err != nil {
			return err
		}
		link, err := url.Parse(args[1])
		if err != nil {
			return err
		}
		proxy, err := proxyObject(link.Query())
		if err != nil {
			return err
		}
		if c.Endpoint == "session" {
			times, _ := strconv.Atoi(os.Getenv("INTEROP_UPGRADES")) // 0 without upgrades
			return session(ctx, args[0], proxy, times)
		}
		return testProxy(ctx, args[0], proxy, c.DC)
	case len(args) == 2 && args[0] == "version":
		return version(args[1])
	}
	return errors.New("usage: driver LIBRARY LINK CASE | driver version LIBRARY")
}

// tdlibCase has the fields of a case that the driver needs.
type tdlibCase struct {
	Endpoint string `json:"endpoint"`
	DC       int    `json:"dc"`
}

// proxyObject returns the proxy of a link.
func proxyObject(link url.Values) (object, error) {
	port, err := strconv.Atoi(link.Get("port"))
	if err != nil {
		return nil, err
	}
	return object{
		"@type": "proxy", "server": link.Get("server"), "port": port,
		"type": object{"@type": "proxyTypeMtproto", "secret": link.Get("secret")},
	}, nil
}

// version prints the library's version.
func version(library string) error {
	t, err := loadTDLib(library)
	if err != nil {
		return err
	}
	answer, err := t.execute(object{"@type": "getOption", "name": "version"})
	if err != nil {
		return err
	}
	fmt.Println(answer["value"])
	return nil
}
