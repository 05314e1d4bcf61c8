/* A driver with two GPUs, played from the folder that FAKE_NVML names; none without it.
 *
 *   init, count      an error code of nvmlInit; how many GPUs there are
 *   inits            grows by a byte with each nvmlInit
 *   hang             while it is there, memory is not told
 *   gpuN             "total base util temperature power limit" (MiB, MiB, %, C, mW, mW)
 *   gpuN.error       an error code instead of a handle
 *   gpuN.silent      all but memory is not supported
 *   gpuN.held/PID    bytes that a process holds while it lives (gPID: it draws)
 *   gpuN.stuck       bytes that nobody holds and that are not free
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } use_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process_t;
typedef struct { int index; } gpu_t;

static gpu_t gpus[16];
enum { OK = 0, NOT_SUPPORTED = 3, TOO_SMALL = 7, NOT_LOADED = 9 };

static const char *folder(void) { return getenv("FAKE_NVML"); }

static FILE *look(const char *name) {
    char path[4096];
    if (!folder()) return NULL;
    snprintf(path, sizeof path, "%s/%s", folder(), name);
    return fopen(path, "r");
}

static long long number(const char *name, long long otherwise) {
    FILE *file = look(name);
    if (!file) return otherwise;
    if (fscanf(file, "%lld", &otherwise) != 1) otherwise = -1;
    fclose(file);
    return otherwise;
}

static long long about(gpu_t *gpu, const char *what, long long otherwise) {
    char name[64];
    snprintf(name, sizeof name, "gpu%d.%s", gpu->index, what);
    return number(name, otherwise);
}

static void values(gpu_t *gpu, long long *six) {
    char name[64];
    snprintf(name, sizeof name, "gpu%d", gpu->index);
    FILE *file = look(name);
    six[0] = 24576; six[1] = 512; six[2] = 0; six[3] = 40; six[4] = 30000; six[5] = 300000;
    if (!file) return;
    fscanf(file, "%lld %lld %lld %lld %lld %lld", six, six + 1, six + 2, six + 3, six + 4, six + 5);
    fclose(file);
}

/* The processes of one kind that live; returns the bytes that all kinds hold. */
static unsigned long long held(gpu_t *gpu, int draws, process_t *list, unsigned room, unsigned *n) {
    char path[4096];
    unsigned long long all = 0;
    *n = 0;
    snprintf(path, sizeof path, "%s/gpu%d.held", folder(), gpu->index);
    DIR *dir = opendir(path);
    if (!dir) return 0;
    for (struct dirent *item; (item = readdir(dir));) {
        int is_drawing = item->d_name[0] == 'g';
        int pid = atoi(item->d_name + is_drawing);
        if (pid <= 0 || kill(pid, 0) != 0) continue;
        char name[600];
        snprintf(name, sizeof name, "gpu%d.held/%s", gpu->index, item->d_name);
        unsigned long long bytes = number(name, 0);
        all += bytes;
        if (is_drawing != draws) continue;
        if (list && *n < room) list[*n] = (process_t){pid, bytes, 0, 0};
        ++*n;
    }
    closedir(dir);
    return all;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!folder()) return NOT_LOADED;
    char path[4096];
    snprintf(path, sizeof path, "%s/inits", folder());
    FILE *file = fopen(path, "a");
    if (file) { fputc('x', file); fclose(file); }
    return (int)number("init", OK);
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) {
    return code == 15 ? "GPU is lost" : code == 18 ? "Driver/library version mismatch" : "Unknown Error";
}
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    snprintf(text, length, "575.51.03");
    return OK;
}
int nvmlDeviceGetCount_v2(unsigned *count) { *count = (unsigned)number("count", 2); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **gpu) {
    *gpu = &gpus[index];
    gpus[index].index = (int)index;
    return (int)about(*gpu, "error", OK);
}
int nvmlDeviceGetMemoryInfo(gpu_t *gpu, memory_t *memory) {
    for (FILE *file; (file = look("hang"));) { fclose(file); usleep(5000); }
    long long six[6];
    unsigned n;
    values(gpu, six);
    memory->total = six[0] << 20;
    memory->used = (six[1] << 20) + held(gpu, 0, NULL, 0, &n) + about(gpu, "stuck", 0);
    memory->free = memory->total - memory->used;
    return OK;
}

static int one(gpu_t *gpu, int which, unsigned *value) {
    long long six[6];
    if (about(gpu, "silent", 0)) return NOT_SUPPORTED;
    values(gpu, six);
    *value = (unsigned)six[which];
    return OK;
}
int nvmlDeviceGetUtilizationRates(gpu_t *gpu, use_t *use) { return one(gpu, 2, &use->gpu); }
int nvmlDeviceGetTemperature(gpu_t *gpu, int sensor, unsigned *value) { (void)sensor; return one(gpu, 3, value); }
int nvmlDeviceGetPowerUsage(gpu_t *gpu, unsigned *value) { return one(gpu, 4, value); }
int nvmlDeviceGetEnforcedPowerLimit(gpu_t *gpu, unsigned *value) { return one(gpu, 5, value); }
int nvmlDeviceGetCudaComputeCapability(gpu_t *gpu, int *major, int *minor) {
    *major = 8; *minor = 9;
    return about(gpu, "silent", 0) ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetName(gpu_t *gpu, char *text, unsigned length) {
    snprintf(text, length, "Played GPU %d", gpu->index);
    return OK;
}
int nvmlDeviceGetUUID(gpu_t *gpu, char *text, unsigned length) {
    /* The card in a slot keeps its UUID when another one before it is gone. */
    char name[64];
    snprintf(name, sizeof name, "gpu%d.uuid", gpu->index);
    snprintf(text, length, "GPU-%08llx-0000-0000-0000-000000000000",
             (unsigned long long)number(name, 0xaaaa0000 + gpu->index));
    return OK;
}
static int list(gpu_t *gpu, int draws, unsigned *count, process_t *found) {
    unsigned n, room = found ? *count : 0;
    if (about(gpu, "silent", 0)) return NOT_SUPPORTED;
    held(gpu, draws, found, room, &n);
    *count = n;
    return n > room ? TOO_SMALL : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(gpu_t *gpu, unsigned *count, process_t *found) {
    return list(gpu, 0, count, found);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(gpu_t *gpu, unsigned *count, process_t *found) {
    return list(gpu, 1, count, found);
}
