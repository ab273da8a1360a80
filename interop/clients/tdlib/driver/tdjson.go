package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

static int (*create_client_id)(void);
static void (*client_send)(int, const char *);
static const char *(*client_receive)(double);
static const char *(*execute)(const char *);

// load_tdjson binds the library's four functions. It returns an error message, or
// NULL.
static const char *load_tdjson(const char *path) {
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) return dlerror();
	create_client_id = dlsym(library, "td_create_client_id");
	client_send = dlsym(library, "td_send");
	client_receive = dlsym(library, "td_receive");
	execute = dlsym(library, "td_execute");
	if (!create_client_id || !client_send || !client_receive || !execute) return "it lacks TDLib's JSON interface";
	return NULL;
}

static int call_create(void) { return create_client_id(); }
static void call_send(int client, const char *request) { client_send(client, request); }
static const char *call_receive(double timeout) { return client_receive(timeout); }
static const char *call_execute(const char *request) { return execute(request); }
*/
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
	"unsafe"
)

// object is a TDLib object: a request, an answer or an update.
type object = map[string]any

// tdjson is a client of a TDLib library that was loaded from a file. The library
// has one queue of answers, so a process can have one client.
type tdjson struct{ client C.int }

// loadTDLib loads the library.
func loadTDLib(path string) (*tdjson, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if message := C.load_tdjson(name); message != nil {
		return nil, fmt.Errorf("%s: %s", path, C.GoString(message))
	}
	t := &tdjson{}
	// TDLib logs to standard error, which is shown if the case fails. Level 2 is
	// warnings.
	if _, err := t.execute(object{"@type": "setLogVerbosityLevel", "new_verbosity_level": 2}); err != nil {
		return nil, err
	}
	t.client = C.call_create()
	return t, nil
}

// send sends a request. receive returns its answer.
func (t *tdjson) send(request object) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	c := C.CString(string(text))
	defer C.free(unsafe.Pointer(c))
	C.call_send(t.client, c)
	return nil
}

// receive returns the next answer or update.
func (t *tdjson) receive(ctx context.Context) (object, error) {
	const pollInterval = 0.2 // seconds between two checks of ctx
	for ctx.Err() == nil {
		if text := C.call_receive(pollInterval); text != nil {
			return parse(C.GoString(text))
		}
	}
	return nil, ctx.Err()
}

// execute calls a function of TDLib that needs no client.
func (t *tdjson) execute(request object) (object, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	c := C.CString(string(text))
	defer C.free(unsafe.Pointer(c))
	answer := C.call_execute(c)
	if answer == nil {
		return nil, fmt.Errorf("TDLib has no answer to %s", text)
	}
	return parse(C.GoString(answer))
}

func parse(text string) (o object, err error) {
	err = json.Unmarshal([]byte(text), &o)
	return o, err
}
