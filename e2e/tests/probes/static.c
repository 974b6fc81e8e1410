/* SPDX-License-Identifier: GPL-3.0-or-later
 * connect(2) by the bare system call, as a static binary without a C library makes it. Prints the error in words. */
static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

void _start(void) {
    /* 192.0.2.1:4242 */
    unsigned char address[16] = {2, 0, 0x10, 0x92, 192, 0, 2, 1};
    long socket = call(41, 2, 1, 0);
    long result = call(42, socket, (long)address, 16);
    if (result == -1)
        call(1, 1, (long)"Operation not permitted\n", 24);
    else if (result == 0)
        call(1, 1, (long)"connected\n", 10);
    call(60, result != 0, 0, 0);
}
