/* Preloaded into a process under test: a disk that fails to sync once, a clock that is off.

   FAULT_SYNC names a file: where it exists, the next fsync or fdatasync removes it and fails with
   EIO. FAULT_CLOCK_S is added to the time of day; monotonic clocks stay right. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int sync_fails(void) {
  const char *name = getenv("FAULT_SYNC");
  if (name == NULL || unlink(name) != 0) return 0;
  errno = EIO;
  return 1;
}

static long offset_s(void) {
  const char *text = getenv("FAULT_CLOCK_S");
  return text == NULL ? 0 : atol(text);
}

int fsync(int file) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  int before = errno;
  if (sync_fails()) return -1;
  errno = before;
  return real(file);
}

int fdatasync(int file) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  int before = errno;
  if (sync_fails()) return -1;
  errno = before;
  return real(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (real == NULL) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int status = real(clock, now);
  if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += offset_s();
  return status;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}
