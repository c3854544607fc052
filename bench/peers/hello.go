// SPDX-License-Identifier: MIT

// The demo's /hello, /sleep and /stick on Go's net/http. PORT is the first argument.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

func wait(request *http.Request) {
	ms, err := strconv.ParseFloat(request.URL.Query().Get("ms"), 64)
	if err != nil {
		ms = 1e9
	}
	time.Sleep(time.Duration(ms * float64(time.Millisecond)))
}

func hello(response http.ResponseWriter, request *http.Request) {
	response.Header().Set("Content-Type", "text/plain; charset=utf-8")
	response.Write([]byte("hello\n"))
}

func main() {
	waiting := func(response http.ResponseWriter, request *http.Request) {
		wait(request)
		hello(response, request)
	}
	http.HandleFunc("/hello", hello)
	http.HandleFunc("/sleep", waiting)
	http.HandleFunc("/stick", waiting) // a goroutine that blocks is all that Go has
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
	os.Exit(1)
}
