// SPDX-License-Identifier: Apache-2.0
// What test/programs has gcc compile: some of everything, and warnings.
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef MISTAKE
int mistake(void) { return undeclared + ; }
struct unfinished a;
#endif

#define TIMES8(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
#define MATRIX(n)                                                          \
  static double matrix##n(const double* a, const double* b, int size) {    \
    double sum = n;                                                        \
    for (int i = 0; i < size; ++i)                                         \
      for (int j = 0; j < size; ++j)                                       \
        for (int k = 0; k < size; ++k)                                     \
          sum += a[i * size + k] * b[k * size + j] + sqrt(fabs(a[k] + n)); \
    return sum;                                                            \
  }
TIMES8(MATRIX)

struct node {
  struct node *left, *right;
  int key;
};

static struct node* insert(struct node* tree, int key) {
  if (tree == NULL) {
    tree = calloc(1, sizeof(*tree));
    tree->key = key;
  } else if (key < tree->key) {
    tree->left = insert(tree->left, key);
  } else {
    tree->right = insert(tree->right, key);
  }
  return tree;
}

static unsigned walk(const struct node* tree, unsigned hash) {
  if (tree == NULL) return hash;
  hash = walk(tree->left, hash);
  return walk(tree->right, hash * 31 + (unsigned)tree->key);
}

static jmp_buf back;
static int leave(int depth) {
  if (depth == 0) longjmp(back, 42);
  return leave(depth - 1) + 1;
}

static int compare(const void* a, const void* b) {
  return *(const int*)a - *(const int*)b;
}

int main(int argc, char** argv) {
  double a[64], b[64];
  for (int i = 0; i < 64; ++i) a[i] = i, b[i] = 64 - i;
#define CALL(n) printf("%.6f\n", matrix##n(a, b, 8));
  TIMES8(CALL)
  struct node* tree = NULL;
  int keys[1000];
  for (int i = 0; i < 1000; ++i) {
    keys[i] = i * 7919 % 1009;
    tree = insert(tree, keys[i]);
  }
  qsort(keys, 1000, sizeof(keys[0]), compare);
  printf("%u %d %d\n", walk(tree, 1), keys[0], keys[999]);
  int value = setjmp(back);
  if (value == 0) leave(100);
  printf("%d\n", value);
  switch (argc) {
    case 1:
      puts("one");
    default:
      printf("%d\n", (int)strlen(argv[0]) > 0);
  }
  return 9;
}
