package main

import "context"

func (t *trial) runSandbox(ctx context.Context) {}
