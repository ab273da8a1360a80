//go:build !linux

package service

import "syscall"

func (s *Service) notify(string, ...any) {}

func (s *Service) notifyWith(syscall.Conn, string, ...any) {}

func (s *Service) notifyReloading() {}

func endsWithProcess() bool { return false }
