package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/hangup"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/relay"
	"github.com/spf13/cobra"
)

// relayVariable is the environment variable with the endpoints of mtwire relay.
const relayVariable = "MTWIRE_RELAY_TO"

// relayEndpoint is an endpoint, or the name of a carrier for the data centres, with its
// weight, 0 if it has none.
type relayEndpoint struct {
	mtwire.Endpoint
	weight int
}

// UnmarshalText parses the name of a carrier or the URL of an endpoint. Its errors quote
// no secret.
func (e *relayEndpoint) UnmarshalText(text []byte) error {
	url, weight, err := cutWeight(string(text))
	if err != nil {
		return err
	}
	e.weight = weight
	switch url {
	case "tcp":
		e.Endpoint = mtwire.Endpoint{Obfuscated: true}
	case "wss":
		e.Endpoint = mtwire.Endpoint{Carrier: mtwire.WebSocket}
	case "https":
		e.Endpoint = mtwire.Endpoint{Carrier: mtwire.HTTP}
	default:
		ep, err := mtwire.ParseEndpoint(url)
		if err != nil {
			return err
		}
		e.Endpoint = ep
	}
	return nil
}

// cutWeight removes weight=N from an endpoint's query.
func cutWeight(text string) (rest string, weight int, err error) {
	rest, query, _ := strings.Cut(text, "?")
	separator := "?"
	for param := range strings.SplitSeq(query, "&") {
		value, ok := strings.CutPrefix(param, "weight=")
		switch {
		case ok && weight > 0:
			return "", 0, errors.New("weight is given twice")
		case ok:
			if weight, err = strconv.Atoi(value); err != nil || weight < 1 || weight > relay.MaxWeight {
				return "", 0, fmt.Errorf("weight is not a number from 1 to %d", relay.MaxWeight)
			}
		case param != "":
			rest += separator + param
			separator = "&"
		}
	}
	return rest, weight, nil
}

// weights returns those of the endpoints, nil if none has one, and 1 for those without
// otherwise.
func weights(all []relayEndpoint) (shares []int) {
	for _, ep := range all {
		shares = append(shares, max(ep.weight, 1))
	}
	if !slices.ContainsFunc(all, func(ep relayEndpoint) bool { return ep.weight > 0 }) {
		return nil
	}
	return shares
}

// relayFlags are the flags of mtwire relay.
type relayFlags struct {
	listen      []service.ListenAddress
	trusted     []service.TrustedPeer
	to          []relayEndpoint
	toFile      string
	secrets     []service.NamedSecret
	secretsFile string
	tlsCert     string
	tlsKey      string
	certificate atomic.Pointer[tls.Certificate] // what these have now; SIGHUP reads it again
	answer      time.Duration
	maxAll      int
	maxAddress  int
	log         logFlags
	service     service.Config // of which the log's settings are used
}

func relayCommand() *cobra.Command {
	flags := &relayFlags{
		listen: []service.ListenAddress{{Network: "tcp4", Address: "127.0.0.1:7443"}},
		answer: relay.DefaultAnswerTimeout,
	}
	cmd := &cobra.Command{
		Use:   "relay --to ENDPOINT",
		Short: "Pass packets on between any transport and any other",
		Long: `Pass packets on between any transport and any other. It listens for every
transport, as a data centre does, and connects to the endpoints of --to by
theirs. Packets are framed anew where the two differ; their bytes stay what they
are. Quick acknowledgements, transport errors and padding are passed on wherever
both transports have them.

An ENDPOINT is a URL, as for a client of the library: tcp, ws, wss, http, https,
or a link of an MTProxy or a WEB proxy. tcp, wss and https alone are Telegram's
data centres by the number that the client asks for. With several, the next one
is used when one cannot be reached or does not answer; with ?weight=N behind
some, they share the clients.

With --secret or --secrets only clients of an MTProxy are served, and others get
no answer. Every user of this machine can read its command lines: --to-file and
--secrets keep secrets off them, as $` + relayVariable + ` does.

Connections that have shown no secret are limited: at the limit, or at the share
of one network, a new one is served, and an idle one of the network that has
most makes room.`,
		Example: `  mtwire relay --to wss
  mtwire relay --listen :7443 --to tcp://192.0.2.1:443?protocol=full --to tcp`,
		Args:        noArguments,
		Annotations: map[string]string{reloadsAnnotation: ""},
		RunE:        func(cmd *cobra.Command, _ []string) error { return nameFlag(flags.run(cmd)) },
	}
	f := cmd.Flags()
	listVar(f, &flags.listen, "listen", errorsQuote, "`ADDRESS` to listen on: :PORT, HOST:PORT or unix:/PATH (repeatable)")
	listVar(f, &flags.trusted, "proxy-protocol-from", errorsQuote, "load balancer that sends PROXY protocol headers: `ADDRESS`, NETWORK/BITS or unix (repeatable)")
	listVar(f, &flags.to, "to", errorsNumbered, "`ENDPOINT` to connect to; the first one that answers is used, or all by ?weight=N (repeatable)")
	f.StringVar(&flags.toFile, "to-file", "", "`FILE` with an ENDPOINT on each line; # begins a comment; SIGHUP reads it again (default: $"+relayVariable+")")
	listVar(f, &flags.secrets, "secret", errorsNumbered, "serve MTProxy clients with this `SECRET` only (repeatable)")
	f.StringVar(&flags.secretsFile, "secrets", "", "`FILE` with a SECRET or NAME=SECRET on each line; # begins a comment; SIGHUP reads it again")
	f.StringVar(&flags.tlsCert, "tls-cert", "", "`FILE` with the certificate for wss and https, PEM; SIGHUP reads it again")
	f.StringVar(&flags.tlsKey, "tls-key", "", "`FILE` with its key, PEM")
	durationVar(f, &flags.answer, "answer-timeout", "`DURATION` that an endpoint may take for its first packet, if there is another one; 0: no limit")
	f.IntVar(&flags.maxAll, "max-unauthenticated", 0, "largest `NUMBER` of connections that are not authenticated, which are all without a secret (default: a quarter of the descriptors that the process may have, at most 16384)")
	f.IntVar(&flags.maxAddress, "max-unauthenticated-per-address", 0, "largest `NUMBER` of these from one address, or IPv6 network of 64 bits (default: half of them)")
	flags.log.define(cmd, &flags.service)
	return cmd
}

func (flags *relayFlags) run(cmd *cobra.Command) error {
	hangups, stop := hangup.Notify()
	defer stop()
	flags.log.take(&flags.service)
	log, err := flags.log.open(cmd)
	if err != nil {
		return err
	}
	defer log.close()
	// Package net/http would write there what a server over HTTP sends unasked.
	stdlog.SetOutput(io.Discard)
	all, err := flags.endpoints(log.Logger)
	if err != nil {
		return err
	}
	flags.warnOfCredentials(cmd, all, log.Logger)
	if err := flags.checkLimits(); err != nil {
		return err
	}
	relaying := relay.Config{
		To: servers(all), Weights: weights(all), AnswerTimeout: flags.answerTimeout(), Log: log.Logger,
		Dial:               &mtwire.DialConfig{ObfuscatedFull: true}, // if an endpoint asks for it
		MaxUnauthenticated: flags.maxAll, MaxUnauthenticatedPerAddress: flags.maxAddress,
	}
	for _, peer := range flags.trusted {
		if peer.Unix {
			relaying.TrustUnixSockets = true
		} else {
			relaying.TrustedProxies = append(relaying.TrustedProxies, peer.Network)
		}
	}
	r, err := relay.New(relaying)
	if err != nil {
		return err
	}
	config, err := flags.listenConfig(log.Logger)
	if err != nil {
		return err
	}
	var listeners []*mtwire.Listener
	defer func() {
		for _, ln := range listeners {
			ln.Close()
		}
	}()
	for _, address := range flags.listen {
		socket, err := net.Listen(address.Network, address.Address)
		if err != nil {
			return hintListen(err, "--listen")
		}
		ln := mtwire.NewListener(r.Listener(socket), config)
		listeners = append(listeners, ln)
		printStatus(cmd, "listening on %v", ln.Addr())
	}
	go eachHangup(hangups, func() { flags.reload(log, r, config, listeners) })
	limits := r.Limits()
	log.Info("limits", "max_unauthenticated", limits.Unauthenticated, "descriptors", limits.Descriptors,
		"max_unauthenticated_per_address", limits.PerAddress)
	errs := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, ln := range listeners {
		serving.Go(func() { errs <- ln.Serve(cmd.Context(), r.Handle) })
	}
	err = <-errs // the first that fails ends the others
	for _, ln := range listeners {
		ln.Close()
	}
	serving.Wait()
	return unlessEnded(cmd.Context(), err)
}

// reload opens the log file, and reads the certificate, the endpoints and the secrets again. What
// cannot be read stays as it was. Connections go on, and new ones have what is new.
func (flags *relayFlags) reload(log *processLog, r *relay.Relay, config *mtwire.ListenConfig, listeners []*mtwire.Listener) {
	log.reopen()
	used := log.file != nil
	again := func(file, what string, read func() error) {
		if file == "" {
			return
		}
		used = true
		if err := read(); err != nil {
			log.Error("the "+what+" cannot be read again, what was read before stays in use", "cause", redactedCause(err))
			return
		}
		log.Info("read the " + what + " again")
	}
	again(flags.tlsCert, "certificate", flags.readCertificate)
	again(flags.toFile, "endpoints", func() error {
		all, err := flags.endpoints(log.Logger)
		if err != nil {
			return err
		}
		return r.SetServers(servers(all), weights(all))
	})
	again(flags.secretsFile, "secrets", func() (err error) {
		next := *config
		if next.Secrets, err = flags.allSecrets(log.Logger); err != nil {
			return err
		}
		for _, ln := range listeners {
			ln.SetConfig(&next)
		}
		return nil
	})
	if !used {
		log.Info("SIGHUP: neither a certificate, a file of endpoints or secrets, nor a log file is in use, so there is nothing to do")
	}
}

// redactedCause returns the text of an error for the log.
func redactedCause(err error) string { return config.Redact(err.Error()) }

// readCertificate reads the certificate, if there is one.
func (flags *relayFlags) readCertificate() error {
	if flags.tlsCert == "" {
		return nil
	}
	certificate, err := config.ReadKeyPair(flags.tlsCert, flags.tlsKey)
	if err == nil {
		flags.certificate.Store(&certificate)
	}
	return err
}

// checkLimits returns an error for limits that contradict each other.
func (flags *relayFlags) checkLimits() error {
	switch {
	case flags.answer < 0:
		return &service.ConfigError{Setting: "answer-timeout", Err: fmt.Errorf("must not be negative, and is %v", flags.answer)}
	case flags.maxAll < 0:
		return &service.ConfigError{Setting: "max-unauthenticated", Err: negative(flags.maxAll)}
	case flags.maxAddress < 0:
		return &service.ConfigError{Setting: "max-unauthenticated-per-address", Err: negative(flags.maxAddress)}
	case flags.maxAll > 0 && flags.maxAddress > flags.maxAll:
		return &service.ConfigError{Setting: "max-unauthenticated-per-address", Err: errors.New("must not be more than --max-unauthenticated, which counts the same connections")}
	}
	return nil
}

// answerTimeout returns --answer-timeout as a relay.Config has it, where 0 means the default.
func (flags *relayFlags) answerTimeout() time.Duration {
	if flags.answer == 0 {
		return -1
	}
	return flags.answer
}

func negative(value int) error { return fmt.Errorf("must not be negative, and is %d", value) }

// endpoints returns those of the flags, or of the variable.
func (flags *relayFlags) endpoints(log *slog.Logger) (all []relayEndpoint, err error) {
	all = flags.to
	if flags.toFile != "" {
		more, err := service.ReadList[relayEndpoint](flags.toFile, log)
		if err != nil {
			return nil, &service.ConfigError{Setting: "to-file", Err: err}
		}
		all = slices.Concat(all, more)
	}
	if len(all) == 0 {
		for text := range strings.FieldsSeq(os.Getenv(relayVariable)) {
			var ep relayEndpoint
			if err := ep.UnmarshalText([]byte(text)); err != nil {
				return nil, errors.New(relayVariable + ": " + err.Error())
			}
			all = append(all, ep)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no endpoint to connect to: --to wss, for instance, is Telegram's data centres over WebSocket")
	}
	return all, nil
}

// warnOfCredentials warns of an endpoint with a secret on the command line.
func (flags *relayFlags) warnOfCredentials(cmd *cobra.Command, all []relayEndpoint, log *slog.Logger) {
	for _, ep := range all {
		if ep.Secret != (mtwire.Secret{}) && cmd.Flags().Changed("to") && slices.Contains(flags.to, ep) {
			log.Warn("every user of this machine can read what --to has on the command line", "instead", "--to-file FILE", "or", relayVariable)
			return
		}
	}
}

// servers returns endpoints without their weights.
func servers(all []relayEndpoint) (to []mtwire.Endpoint) {
	for _, ep := range all {
		to = append(to, ep.Endpoint)
	}
	return to
}

// allSecrets returns the secrets of the flags and of the file.
func (flags *relayFlags) allSecrets(log *slog.Logger) (all []mtwire.Secret, err error) {
	secrets := flags.secrets
	if flags.secretsFile != "" {
		more, err := service.ReadList[service.NamedSecret](flags.secretsFile, log)
		if err != nil {
			return nil, &service.ConfigError{Setting: "secrets", Err: err}
		}
		secrets = slices.Concat(secrets, more)
	}
	for _, named := range secrets {
		all = append(all, named.Secret)
	}
	return all, nil
}

// listenConfig returns what clients may use.
func (flags *relayFlags) listenConfig(log *slog.Logger) (*mtwire.ListenConfig, error) {
	secrets, err := flags.allSecrets(log)
	if err != nil {
		return nil, err
	}
	config := &mtwire.ListenConfig{ObfuscatedFull: true, Secrets: secrets}
	if (flags.tlsCert == "") != (flags.tlsKey == "") {
		return nil, errors.New("--tls-cert and --tls-key need each other")
	}
	if flags.tlsCert != "" {
		if err := flags.readCertificate(); err != nil {
			return nil, &service.ConfigError{Setting: "tls-cert", Err: err}
		}
		config.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return flags.certificate.Load(), nil
		}}
	}
	return config, nil
}
