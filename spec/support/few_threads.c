/* Stands in front of pthread_create: gives no more threads than FEW_THREADS at a time, as a limit of the operating
 * system does (which does not bind root). Writes the most that there have been into the file FEW_THREADS_SEEN. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int creator(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

struct work {
  void *(*run)(void *);
  void *argument;
};

static atomic_int alive;
static atomic_int most;

static void note(int count) {
  const char *path = getenv("FEW_THREADS_SEEN");
  int seen = atomic_load(&most);
  while (count > seen && !atomic_compare_exchange_weak(&most, &seen, count)) {
  }
  if (path && count > seen) {
    char text[16];
    int length = snprintf(text, sizeof text, "%8d", count);
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    if (file >= 0) {
      if (pwrite(file, text, length, 0) != length) abort();
      close(file);
    }
  }
}

static void ended(void *unused) {
  (void)unused;
  atomic_fetch_sub(&alive, 1);
}

static void *run(void *pointer) {
  struct work work = *(struct work *)pointer;
  void *result;
  free(pointer);
  pthread_cleanup_push(ended, NULL);
  result = work.run(work.argument);
  pthread_cleanup_pop(1);
  return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  static creator *next;
  const char *limit = getenv("FEW_THREADS");
  struct work *work;
  int error;
  if (!next) next = (creator *)dlsym(RTLD_NEXT, "pthread_create");
  int count = atomic_fetch_add(&alive, 1) + 1;
  if (limit && count > atoi(limit)) {
    atomic_fetch_sub(&alive, 1);
    return EAGAIN;
  }
  work = malloc(sizeof *work);
  if (!work) return EAGAIN;
  work->run = start;
  work->argument = argument;
  error = next(thread, attributes, run, work);
  if (error) {
    free(work);
    atomic_fetch_sub(&alive, 1);
  } else {
    note(count);
  }
  return error;
}
