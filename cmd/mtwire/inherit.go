package main

import (
	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/cobra"
)

// inherit adds the sockets of LISTEN_FDS to the configuration. They replace the
// default of --listen.
func (f *proxyFlags) inherit(cmd *cobra.Command) (err error) {
	f.config.Inherited, err = service.InheritedListeners()
	flags := cmd.Flags()
	if len(f.config.Inherited) > 0 && !flags.Changed("listen") && !flags.Changed("port") && !f.file.document.Has("listen") {
		f.config.Listen = nil
	}
	return err
}
