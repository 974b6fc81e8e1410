// SPDX-License-Identifier: GPL-3.0-or-later

// Prints the page at a URL.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	answer, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	page, err := io.ReadAll(answer.Body)
	fmt.Println(string(page), err)
	if err != nil || answer.StatusCode != 200 {
		os.Exit(1)
	}
}
