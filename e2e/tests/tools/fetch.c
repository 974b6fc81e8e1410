/* SPDX-License-Identifier: GPL-3.0-or-later
 * Fetches http://HOST/PATH as a program does that is linked with a whole C library: by its resolver. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char host[256], path[256], request[1024], answer[4096];
    if (argc != 2 || sscanf(argv[1], "http://%255[^/]%255s", host, path) != 2) return 2;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(host, "80", &hints, &found);
    if (error) {
        fprintf(stderr, "%s\n", gai_strerror(error));
        return 1;
    }
    for (; found; found = found->ai_next) {
        int connection = socket(found->ai_family, SOCK_STREAM, 0);
        if (connect(connection, found->ai_addr, found->ai_addrlen)) {
            perror("connect");
            continue;
        }
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
        write(connection, request, strlen(request));
        ssize_t length, all = 0;
        while ((length = read(connection, answer + all, sizeof answer - 1 - all)) > 0) all += length;
        answer[all] = 0;
        puts(answer);
        return strstr(answer, " 200 ") == NULL;
    }
    return 1;
}
