//go:build !linux

package service

func (s *Service) notify(string, ...any) {}

func (s *Service) notifyReloading() {}

func endsWithProcess() bool { return false }
