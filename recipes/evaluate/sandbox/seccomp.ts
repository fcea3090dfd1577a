/**
 * @file The system calls that a confined command does without, as a seccomp filter in classic BPF.
 *
 * A filter is a list of refusals over what bubblewrap already takes away: calls that reach past namespaces (vsock,
 * keyrings, eBPF), that make new ones, or that have been the way into kernels (io_uring, userfaultfd, perf).
 */

/** A machine that Linux tells apart by its own table of calls. */
interface Machine {
  /** `AUDIT_ARCH_…` of linux/audit.h. */
  readonly audit: number;
  readonly clone: number;
  readonly socket: number;
  readonly ioctl: number;
  /** Numbers of the calls that are refused whatever their arguments. */
  readonly refused: readonly number[];
}

/** Calls whose numbers are the same on every machine (all that came after Linux 5.0, and the table of asm-generic). */
const common = {
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  fspick: 433,
  pidfd_getfd: 438,
  mount_setattr: 442,
  memfd_secret: 447,
} as const;

/** Numbers of asm/unistd_64.h: ptrace, pivot_root, chroot, acct, mount, umount2, swapon, swapoff, reboot, … */
const x86: Machine = {
  audit: 0xc000003e,
  clone: 56,
  socket: 41,
  ioctl: 16,
  refused: [
    ...[101, 155, 161, 163, 165, 166, 167, 168, 169, 170, 171], // ptrace … setdomainname
    ...[103, 134, 135, 172, 173, 175, 176, 246, 313, 320], // syslog, uselib, personality, iopl, ioperm, modules, kexec
    ...[159, 164, 227, 305], // adjtimex, settimeofday, clock_settime, clock_adjtime
    ...[179, 212, 180, 237, 238, 239, 256, 279], // quotactl, lookup_dcookie, nfsservctl, mbind … move_pages
    ...[248, 249, 250], // add_key, request_key, keyctl
    ...[272, 308], // unshare, setns
    ...[298, 300, 301, 303, 304], // perf_event_open, fanotify, name_to_handle_at, open_by_handle_at
    ...[310, 311, 312, 321, 323], // process_vm_readv, process_vm_writev, kcmp, bpf, userfaultfd
    ...[319, 29, 68, 64], // memfd_create, shmget, msgget, semget: memory that no limit counts
    ...Object.values(common),
  ],
};

const arm: Machine = {
  audit: 0xc00000b7,
  clone: 220,
  socket: 198,
  ioctl: 29,
  refused: [
    ...[18, 39, 40, 41, 42, 51, 60, 89, 92, 104, 105, 106, 116, 117], // lookup_dcookie, umount2, mount, … ptrace
    ...[112, 142, 161, 162, 170, 171, 224, 225, 266, 273, 294], // clocks, reboot, names, swap, modules, kexec
    ...[97, 268], // unshare, setns
    ...[217, 218, 219, 235, 236, 237, 238, 239], // keys, memory policies
    ...[279, 194, 186, 190], // memfd_create, shmget, msgget, semget: memory that no limit counts
    ...[241, 262, 263, 264, 265, 270, 271, 272, 280, 282], // perf, fanotify, handles, process_vm, kcmp, bpf, userfaultfd
    ...Object.values(common),
  ],
};

const clone3 = 435;
/** Every `CLONE_NEW…` flag: time, namespaces of mounts, cgroups, names, IPC, users, processes, network. */
const newNamespaces = 0x7e020080;
const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97];
const [AF_UNIX, AF_INET, AF_INET6] = [1, 2, 10];
/** Both put characters into a terminal's input. */
const [TIOCSTI, TIOCLINUX] = [0x5412, 0x541c];

/**
 * The filter for this machine, as the kernel reads it (`struct sock_filter`, eight bytes each).
 *
 * @throws Error on a machine without a table here
 */
export function seccompFilter(architecture: string = Deno.build.arch): Uint8Array<ArrayBuffer> {
  const machine = { x86_64: x86, aarch64: arm }[architecture];
  if (!machine) throw new Error(`no seccomp filter for ${architecture}`);
  const load = (offset: number): Instruction => [0x20, 0, 0, offset];
  const give = (value: number): Instruction => [0x06, 0, 0, value];
  const refuse = (errno: number): Instruction => give(0x00050000 | errno);
  const [kill, allow] = [give(0x80000000), give(0x7fff0000)];
  /** Goes on with `body` where the number is `value`, else past it; a body ends the program. */
  const when = (value: number, body: readonly Instruction[]): Instruction[] => [[0x15, 0, body.length, value], ...body];
  const program: Instruction[] = [
    load(4),
    [0x15, 1, 0, machine.audit],
    kill,
    load(0),
    // x86's second table (x32), which would get round the numbers below.
    ...(machine === x86 ? [[0x35, 0, 1, 0x40000000] as const, kill] : []),
    ...machine.refused.flatMap((number) => when(number, [refuse(EPERM)])),
    // Its flags lie behind a pointer, which a filter cannot follow; the C library falls back to clone.
    ...when(clone3, [refuse(ENOSYS)]),
    ...when(machine.clone, [load(16), [0x45, 0, 1, newNamespaces], refuse(EPERM), allow]),
    // Not every family has a network of its own in a network namespace: vsock reaches the machine's host.
    ...when(machine.socket, [
      load(16),
      [0x15, 3, 0, AF_UNIX],
      [0x15, 2, 0, AF_INET],
      [0x15, 1, 0, AF_INET6],
      refuse(EAFNOSUPPORT),
      allow,
    ]),
    ...when(machine.ioctl, [load(24), [0x15, 1, 0, TIOCSTI], [0x15, 0, 1, TIOCLINUX], refuse(EPERM), allow]),
    allow,
  ];
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [i, [code, yes, no, value]] of program.entries()) {
    view.setUint16(8 * i, code, true);
    view.setUint8(8 * i + 2, yes);
    view.setUint8(8 * i + 3, no);
    view.setUint32(8 * i + 4, value, true);
  }
  return bytes;
}

/** Code, steps ahead where true, steps ahead where false, operand. */
type Instruction = readonly [code: number, yes: number, no: number, operand: number];
