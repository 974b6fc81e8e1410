// SPDX-License-Identifier: MIT OR Apache-2.0
// Asks for a secret, and hands it to children, in every way that a program can. One word to the line: what was found.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char *show[] = {"/bin/sh", "-c", "echo \"${TOKEN:-none}\"", NULL};
#define SHOW "echo \"${TOKEN:-none}\""

static void say(const char *how, const char *value) {
    printf("%s %s\n", how, value ? value : "none");
    fflush(stdout);
}

static void label(const char *how) {
    printf("%s ", how);
    fflush(stdout);
}

static void *ask(void *unused) {
    for (int i = 0; i < 1000; i++)
        if (!getenv("TOKEN"))
            return "none";
    return getenv("TOKEN");
    (void)unused;
}

// A copy of the program's own, as shells and interpreters have one.
static char **copied(void) {
    int count = 0;
    while (environ[count])
        count++;
    char **copy = calloc(count + 1, sizeof *copy);
    for (int i = 0; i < count; i++)
        copy[i] = strdup(environ[i]);
    return copy;
}

static void own(char **envp) {
    say("getenv", getenv("TOKEN"));
    say("secure_getenv", secure_getenv("TOKEN"));
    for (char **it = envp; *it; it++)
        if (!strncmp(*it, "TOKEN=", 6))
            say("envp", *it + 6);
    for (char **it = environ; *it; it++)
        if (!strncmp(*it, "TOKEN=", 6))
            say("environ", *it + 6);
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, ask, NULL);
    for (int i = 0; i < 8; i++) {
        void *found;
        pthread_join(threads[i], &found);
        say("thread", found);
    }
}

static void children(void) {
    char **copy = copied();
    label("system");
    system(SHOW);
    label("popen");
    char line[256] = "";
    FILE *file = popen(SHOW, "r");
    fgets(line, sizeof line, file);
    pclose(file);
    printf("%s", line);
    say("behind-popen", getenv("TOKEN"));
    for (int which = 0; which < 2; which++) {
        label(which ? "posix_spawn-copy" : "posix_spawn");
        pid_t pid;
        posix_spawn(&pid, show[0], NULL, NULL, show, which ? copy : environ);
        waitpid(pid, NULL, 0);
    }
    label("posix_spawnp");
    pid_t spawned;
    posix_spawnp(&spawned, "sh", NULL, NULL, show, environ);
    waitpid(spawned, NULL, 0);
    for (int which = 0; which < 8; which++) {
        const char *names[] = {"fork-getenv", "fork-execve", "fork-execve-copy", "fork-execv",
                               "fork-execvp", "fork-execvpe-copy", "fork-fexecve-copy", "fork-execl"};
        label(names[which]);
        pid_t pid = fork();
        if (!pid) {
            switch (which) {
            case 0:
                printf("%s\n", getenv("TOKEN") ? getenv("TOKEN") : "none");
                fflush(stdout);
                _exit(0);
            case 1: execve(show[0], show, environ); break;
            case 2: execve(show[0], show, copy); break;
            case 3: execv(show[0], show); break;
            case 4: execvp("sh", show); break;
            case 5: execvpe("sh", show, copy); break;
            case 6: fexecve(open(show[0], O_RDONLY), show, copy); break;
            case 7: execl(show[0], show[0], show[1], show[2], NULL); break;
            }
            _exit(1);
        }
        waitpid(pid, NULL, 0);
    }
    label("vfork-execve");
    pid_t pid = vfork();
    if (!pid) {
        execve(show[0], show, environ);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
    say("behind-children", getenv("TOKEN"));
}

static void changes(void) {
    setenv("TOKEN", "changed", 1);
    say("setenv", getenv("TOKEN"));
    unsetenv("TOKEN");
    say("unsetenv", getenv("TOKEN"));
    putenv("TOKEN=put");
    say("putenv", getenv("TOKEN"));
    clearenv();
    say("clearenv", getenv("TOKEN"));
    setenv("OTHER", "other", 1);
    say("fork-behind-clearenv", fork() ? (wait(NULL), getenv("OTHER")) : (_exit(0), NULL));
}

// The memory that the secret is in, as the kernel describes it.
static void memory(void) {
    unsigned long at = (unsigned long)getenv("TOKEN"), from, to;
    char line[512];
    int inside = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= at && at < to;
        if (inside && !strncmp(line, "VmFlags:", 8))
            printf("%s", line);
    }
}

int main(int argc, char **argv, char **envp) {
    const char *what = argc > 1 ? argv[1] : "own";
    if (!strcmp(what, "own"))
        own(envp);
    else if (!strcmp(what, "children"))
        children();
    else if (!strcmp(what, "changes"))
        changes();
    else if (!strcmp(what, "memory"))
        memory();
    else if (!strcmp(what, "execve"))
        execve(show[0], show, environ);
    else
        // Until somebody has looked.
        printf("ready\n"), fflush(stdout), getchar();
    return 0;
}
