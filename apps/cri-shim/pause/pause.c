/*
 * The process of a pod sandbox: holds the pod's namespaces, collects orphans when the pod shares one process
 * namespace, and exits on SIGTERM and SIGINT. Makes its few system calls itself: without a C library it is one page of
 * code and touches next to no memory.
 *
 * All signals are blocked and taken one by one. A blocked signal reaches even the first process of a namespace, which
 * the kernel otherwise shields from signals that it doesn't handle.
 */
#include <asm/unistd.h>
#include <linux/signal.h>
#include <linux/wait.h>

static long call(long number, long a, long b, long c, long d) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
#else
#error "pause: no system calls known for this architecture"
#endif
}

void _start(void) {
  unsigned long all = ~0ul;
  call(__NR_rt_sigprocmask, SIG_BLOCK, (long)&all, 0, sizeof all);
  for (;;) {
    long signal = call(__NR_rt_sigtimedwait, (long)&all, 0, 0, sizeof all);
    if (signal == SIGTERM || signal == SIGINT) call(__NR_exit_group, 0, 0, 0, 0);
    if (signal == SIGCHLD)
      while (call(__NR_wait4, -1, 0, WNOHANG, 0) > 0) continue;
  }
}
