// The machine's real failure modes, each as a prompt of one tap.

/** @typedef {{ title: string, hint: string, prompt: string }} Preset */

/** @type {readonly Preset[]} */
export const PRESETS = [
  {
    title: "Triage",
    hint: "Load, memory, swap, disk, failed units, kernel log",
    prompt:
      "Triage the machine: load, memory, swap, disk space and inodes, failed units, and the newest lines of the " +
      "kernel log. Change nothing yet. Say in a few lines what is wrong, and what you would do about it.",
  },
  {
    title: "Memory and OOM",
    hint: "What eats memory, what the kernel killed",
    prompt:
      "Look at memory and swap: what uses most, whether the kernel killed anything for lack of memory, and what " +
      "pressure says. If one process is plainly the cause, say which and propose what to do before you do it.",
  },
  {
    title: "Disk",
    hint: "Full file systems, I/O errors, what grew",
    prompt:
      "Look at the disks: file systems that are full or out of inodes, what grew last, I/O errors in the kernel log, " +
      "file systems that became read-only. Free space only where it is safe (caches, old logs), and say what you removed.",
  },
  {
    title: "Services",
    hint: "Failed and restarting units",
    prompt:
      "List failed and restarting units with the last lines of their logs. Restart what is safe to restart, check that " +
      "it stays up, and say what is left.",
  },
  {
    title: "QEMU wedged",
    hint: "SSH hangs, the VM says it runs",
    prompt:
      "The machine seems wedged while its VM runs. Check over SSH whether it answers at all, then take the VM's status " +
      "and forensics on the hypervisor: does QMP answer, do the block statistics move between two samples? Say whether " +
      "this is an I/O stall that a power cycle cures, and wait for my word before you cycle.",
  },
];
