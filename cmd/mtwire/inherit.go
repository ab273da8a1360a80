package main

import (
	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/cobra"
)

// inherit adds the sockets of LISTEN_FDS to the configuration, and those of the process that
// this one upgrades. The former replace the default of --listen.
func (f *proxyFlags) inherit(cmd *cobra.Command) (err error) {
	f.config.Inherited, f.config.Stored, err = service.InheritedListeners()
	f.config.Inherited = append(f.config.Inherited, f.config.Takeover.Inherited()...)
	flags := cmd.Flags()
	if len(f.config.Inherited) > 0 && !flags.Changed("listen") && !flags.Changed("port") && !f.file.document.Has("listen") {
		f.config.Listen = nil
	}
	return err
}
