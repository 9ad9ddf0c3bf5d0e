/* Preloaded into linux.uml. User Mode Linux 6.1 has room for the processor state of its
 * processes up to AVX-512 and PKRU. Where the processor has more (AMX), the host reads out as
 * much as there is room for, but takes back only the whole, so that the guest's first process
 * dies ("ptrace set fp regs failed, errno = 14"). Here what is missing is kept as it is: no
 * process has AMX state that has not asked for it. Linux 6.13 asks the host for the size. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { ROOM = 64 * 1024 };

typedef long Ptrace(int, pid_t, void *, void *);

static long set_whole(Ptrace *real, pid_t pid, void *set, const struct iovec *part)
{
	static char whole[ROOM];
	struct iovec all = { whole, sizeof(whole) };
	if (real(PTRACE_GETREGSET, pid, set, &all) < 0)
		return -1;
	if (part->iov_len >= all.iov_len) {
		errno = EFAULT;
		return -1;
	}
	memcpy(whole, part->iov_base, part->iov_len);
	return real(PTRACE_SETREGSET, pid, set, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	static Ptrace *real;
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);
	if (!real)
		real = (Ptrace *)dlsym(RTLD_NEXT, "ptrace");
	long result = real(request, pid, address, data);
	int is_state = request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE;
	if (result < 0 && errno == EFAULT && is_state)
		return set_whole(real, pid, address, data);
	return result;
}
