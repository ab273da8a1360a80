package main

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"strings"

	"github.com/mtwire/mtwire/proxy"
	"github.com/spf13/pflag"
)

// Credentials of mtwire proxy: secrets, links, and the passwords of upstreams.
//
// The command line of a process can be read by every user of the machine, and what
// a service prints is kept in a journal that more people read than its
// configuration. So flags with credentials have a file or a variable beside them,
// and links go to a terminal.

// warnOfCredentials warns of credentials on the command line. A flag that is not given has
// a value as well: the default, or the configuration file's.
func warnOfCredentials(flags *pflag.FlagSet, log *slog.Logger) {
	warn := func(flag, instead, variable string) {
		log.Warn("every user of this machine can read what --"+flag+" has on the command line", "instead", instead, "or", variable)
	}
	if flags.Changed("secret") {
		warn("secret", "--secrets FILE", "MTWIRE_SECRETS")
	}
	upstream := flags.Lookup("upstream")
	if list, ok := upstream.Value.(*textList[proxy.Upstream, *proxy.Upstream]); ok && upstream.Changed && list.anyValue(proxy.Upstream.HasCredentials) {
		warn("upstream", "--upstreams FILE", "MTWIRE_UPSTREAMS")
	}
}

// anyValue reports whether has is true for one of the flag's values.
func (l *textList[T, P]) anyValue(has func(T) bool) bool {
	for _, value := range *l.values {
		if has(value) {
			return true
		}
	}
	return false
}

// showsLinks reports whether the links are to be printed on w.
func (f *proxyFlags) showsLinks(w io.Writer, log *slog.Logger) bool {
	if f.config.PrintLinks || f.qr.when == qrAlways || isTerminal(w) {
		return true
	}
	log.Info("the links are not printed, because standard output is not a terminal", "to_print_them", "--print-links, or mtwire link show with the same flags")
	return false
}

// maxLinkLine limits what is read of a link, in bytes.
const maxLinkLine = 4096

// linkArgument returns an argument that may be a link, or if it is "-", the first line
// of stdin.
func linkArgument(stdin io.Reader, argument string) (string, error) {
	if argument != "-" {
		return argument, nil
	}
	line, err := bufio.NewReader(io.LimitReader(stdin, maxLinkLine)).ReadString('\n')
	if line = strings.TrimSpace(line); line != "" {
		return line, nil
	}
	if err == nil || err == io.EOF {
		err = errors.New("no link is in the first line of standard input")
	}
	return "", err
}
