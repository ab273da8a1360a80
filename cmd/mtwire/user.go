package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/spf13/cobra"
)

// mtwire user: the users of a proxy, over its admin listener, or in its store.
//
//	user.go        the commands, and which proxy they are for
//	userlimits.go  flags of limits; userchange.go: add, rotate, set, enable, disable, remove
//	usershow.go    list, show, usage; table.go: tables

// adminVariable is the path of the admin socket, in place of --socket, or the URL of the
// admin listener, in place of --url.
const adminVariable = "MTWIRE_ADMIN"

// userCommandFlags are the flags of all commands of mtwire user.
type userCommandFlags struct {
	config  service.Config
	file    configFile
	socket  string
	url     string
	token   string // the file of it
	json    bool
	ifMatch string
	qr      qrFlag
	limits  limitFlags
}

// userLong is what the commands of mtwire user have in common.
const userLong = `

The proxy is found by its admin socket, which is there by default: in the runtime or
state directory of this user, or of the service mtwire. --config or --state name
another proxy, and --socket or $` + adminVariable + ` the socket itself. If the proxy does not
run, the change is made in its store, which takes its --config as well.

A proxy on another machine is reached over TCP, if it has --admin HOST:PORT: by
--url, or a URL in $` + adminVariable + `, and its token in --token-file or
$MTWIRE_ADMIN_TOKEN. HTTP is not encrypted: use https:// with a web server in front,
or a tunnel.`

func userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, change and show the users of a proxy",
		Long:  "Add, change and show the users of a proxy, while it runs or not." + userLong,
		Example: `  mtwire user add alice
  mtwire user set alice --quota '100 GiB' --quota-period month
  mtwire user list`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(userAddCommand(), userListCommand(), userShowCommand(), userSetCommand(), userRotateCommand(),
		userDisableCommand(), userEnableCommand(), userRemoveCommand(), userUsageCommand())
	return cmd
}

// userVerb is a command of mtwire user.
type userVerb struct {
	use, short, long, example string
	names                     cobra.PositionalArgs
	define                    func(f *userCommandFlags, cmd *cobra.Command)
	check                     func(f *userCommandFlags, names []string) error // before there is a connection
	run                       func(u *userRun, names []string) error
}

// command returns the command.
func (v *userVerb) command() *cobra.Command {
	f := &userCommandFlags{config: service.Default()}
	cmd := &cobra.Command{
		Use: v.use, Short: v.short, Long: v.long + userLong, Example: v.example,
		Args: v.names,
		RunE: func(cmd *cobra.Command, names []string) error {
			if v.check != nil {
				if err := v.check(f, names); err != nil {
					return err
				}
			}
			return f.file.name(cmd, f.run(cmd, names, v.run))
		},

		ValidArgsFunction: f.completeNames,
	}
	if v.define != nil {
		v.define(f, cmd)
	}
	f.defineTarget(cmd)
	return cmd
}

// defineTarget defines the flags that name the proxy, and --json.
func (f *userCommandFlags) defineTarget(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.json, "json", false, "print the documents of the API, as JSON")
	flags.StringVar(&f.socket, "socket", "", "admin socket of the proxy, a `PATH` (default: $"+adminVariable+", or that of --config, or of a proxy on this machine)")
	flags.StringVar(&f.url, "url", "", "`URL` of the proxy's admin listener on TCP, http://HOST:PORT or https://HOST (default: $"+adminVariable+", if it is one)")
	flags.StringVar(&f.token, "token-file", "", "`FILE` with the token for --url (default: $MTWIRE_ADMIN_TOKEN)")
	flags.StringVar(&f.file.path, "config", "", "configuration `FILE` of the proxy")
	flags.StringVar(&f.config.State, "state", f.config.State, "state `DIRECTORY` of the proxy")
}

// userRun is one call of a command of mtwire user.
type userRun struct {
	*userCommandFlags
	*service.Operator
	cmd *cobra.Command
	ctx context.Context
}

// run connects to the proxy, and calls do.
func (f *userCommandFlags) run(cmd *cobra.Command, names []string, do func(*userRun, []string) error) error {
	for _, name := range names {
		if err := checkUserName(name); err != nil {
			return err
		}
	}
	if f.ifMatch != "" && len(names) != 1 {
		return errors.New("--if-match is for one user")
	}
	target, err := f.target(cmd)
	if err != nil {
		return err
	}
	operator, err := service.Connect(cmd.Context(), target, warnings(cmd))
	if err != nil {
		return err
	}
	if operator.Socket == "" {
		printStatus(cmd, "no proxy runs: these are the users of the next one with the store %s", operator.Directory)
	}
	err = do(&userRun{f, operator, cmd, cmd.Context()}, names)
	return errors.Join(err, operator.Close())
}

// target returns the proxy that the flags and the environment name.
func (f *userCommandFlags) target(cmd *cobra.Command) (t service.Target, err error) {
	t.Command = "user"
	t.Socket = f.socket
	named := f.socket != "" || f.file.path != "" || f.config.State != ""
	url := f.url
	if !named && url == "" {
		if t.Socket = os.Getenv(adminVariable); admin.IsRemote(t.Socket) {
			t.Socket, url = "", t.Socket
		}
	}
	switch {
	case url != "" && named:
		return t, errors.New("--url names a proxy, and so does --socket, --config or --state: want one of them")
	case url != "":
		return f.remote(cmd, url)
	case f.token != "":
		return t, errors.New("--token-file is for --url, or a URL in $" + adminVariable)
	}
	t.Socket = strings.TrimPrefix(t.Socket, netx.UnixPrefix)
	if t.Socket != "" {
		t.Socket, err = filepath.Abs(t.Socket)
		return t, err
	}
	if err := f.file.load(cmd, &f.config); err != nil {
		return t, err
	}
	f.config.Version = version()
	t.Config, t.Given = f.config, f.file.path != "" || f.config.State != ""
	t.Exists = f.file.path == "" && cmd.Name() != "add" // a file has users of its own
	return t, nil
}

// remote returns the proxy at a URL.
func (f *userCommandFlags) remote(cmd *cobra.Command, url string) (t service.Target, err error) {
	from := "--url"
	if f.url == "" {
		from = "$" + adminVariable
	}
	if t.URL, err = admin.ParseRemote(url); err != nil {
		return t, fmt.Errorf("%s: %w", from, err)
	}
	if t.Token, err = service.OperatorToken(f.token, warnings(cmd)); err != nil && f.token != "" {
		err = fmt.Errorf("--token-file: %w", err)
	}
	if err == nil && t.URL.IsOpen() {
		printNote(cmd, "the token is sent to "+t.URL.String()+" without encryption: a web server with https:// in front, or a tunnel, has some")
	}
	return t, err
}

// someNames is a check for one or more names of users.
func someNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s needs the name of a user: %s", cmd.Name(), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	}
	return nil
}

// checkUserName returns an error if no user is called name.
func checkUserName(name string) error {
	if name == "." || name == ".." {
		return errors.New("bad name: . and .. are no names of users that can be changed")
	}
	return config.CheckName(name)
}

// each calls do for each user, also after an error of another one, and names the user in
// errors.
func (u *userRun) each(names []string, do func(name string) error) error {
	var failed []error
	for _, name := range names {
		if err := do(name); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, u.explain(name, err)))
		}
		if u.ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// explain adds what to do to an error of the API.
func (u *userRun) explain(name string, err error) error {
	switch {
	case admin.IsProblem(err, http.StatusNotFound):
		hint := "mtwire user list shows those that there are"
		if all, listErr := u.Users(u.ctx); listErr == nil {
			var names []string
			for _, item := range all {
				names = append(names, item.Name)
			}
			if near := config.Nearest(name, names); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
		}
		return fmt.Errorf("%w: %s", err, hint)
	case admin.IsProblem(err, http.StatusConflict) && u.cmd.Name() != "add":
		return fmt.Errorf("%w, or add another one with mtwire user add", err)
	case admin.IsProblem(err, http.StatusPreconditionFailed):
		return fmt.Errorf("it has changed meanwhile, perhaps by another operator, and is as that one left it: look at mtwire user show %s, and try again", name)
	}
	return err
}

// completionTimeout limits the time of completing names.
const completionTimeout = time.Second

// completeNames completes the names of users: of a proxy that runs, or else those that the
// next one would have.
func (f *userCommandFlags) completeNames(cmd *cobra.Command, given []string, begun string) (names []string, directive cobra.ShellCompDirective) {
	directive = cobra.ShellCompDirectiveNoFileComp
	if cmd.Name() == "add" || cmd.Name() == "list" {
		return nil, directive
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	target, err := f.target(cmd)
	if err != nil {
		return nil, directive
	}
	operator, err := service.ConnectRunning(ctx, target)
	switch {
	case err != nil:
		return nil, directive
	case operator == nil:
		return completions(userNames(f.config), given, begun), directive
	}
	all, err := operator.Users(ctx)
	if err != nil {
		return nil, directive
	}
	for _, item := range all {
		names = append(names, item.Name)
	}
	return completions(names, given, begun), directive
}

// printDocument prints documents of the API as one, by their keys.
func (u *userRun) printDocument(v any) error {
	encoder := json.NewEncoder(u.cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // links have &
	return encoder.Encode(v)
}

// linksOf returns the links of a user, and prints what may keep clients from connecting.
func (u *userRun) linksOf(name string) (links []service.Link, document linksDocument, err error) {
	answer, err := u.Do(u.ctx, http.MethodGet, admin.UserPath(name, "links"), nil, "")
	if err == nil {
		err = json.Unmarshal(answer.Document, &document)
	}
	if err != nil {
		return nil, document, err
	}
	if u.Socket == "" && u.file.path == "" {
		document.Notes = append(document.Notes, "the link has the address and the port of mtwire proxy without flags; --config FILE tells those of a proxy with others, and so does the proxy itself when it runs")
	}
	for _, l := range document.Links {
		link, err := parseLink(l.TG)
		if err != nil {
			return nil, document, err
		}
		link.User = name
		links = append(links, link)
	}
	return links, document, nil
}

// linksDocument is the API's.
type linksDocument struct {
	Links []struct {
		TG    string `json:"tg"`
		HTTPS string `json:"https"`
	} `json:"links"`
	Notes []string `json:"notes"`
}
