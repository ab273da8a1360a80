// Package readiness waits for sockets without a goroutine for each, whose stack would be most
// of what an idle connection takes. It is for readers that begin anew when something has come;
// internal/splice has a poller of its own, which moves the bytes as well.
package readiness
