package live

import (
	"context"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// DataCenter is the address of StartDataCenter.
const DataCenter = "127.0.0.1:7443"

// StartDataCenter starts a data centre that echoes packets. The caller closes it.
func StartDataCenter() (*mtwire.Listener, error) {
	ln, err := mtwire.Listen("tcp", DataCenter, nil)
	if err != nil {
		return nil, err
	}
	go ln.Serve(context.Background(), func(ctx context.Context, conn *mtwire.Conn) {
		if conn.Handshake(ctx) == nil {
			mtwiretest.Echo(ctx, conn)
		}
	})
	return ln, nil
}
