import CFuzz
import Glibc

// Fuzz TARGET [libFuzzer's arguments]: runs one of the targets below under libFuzzer.
let variable = "GPUVM_FUZZ_TARGET"
var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
var count = CommandLine.argc

if count >= 2, let name = CommandLine.unsafeArgv[1].map({ String(cString: $0) }),
    FuzzTarget.choose(named: name)
{
    // libFuzzer sees the program's name and what follows the target's; what it starts itself (to
    // merge) has the name in its environment.
    setenv(variable, name, 1)
    CommandLine.unsafeArgv[1] = CommandLine.unsafeArgv[0]
    arguments = CommandLine.unsafeArgv + 1
    count -= 1
} else if let name = getenv(variable).map({ String(cString: $0) }),
    FuzzTarget.choose(named: name)
{
    // As libFuzzer was told.
} else {
    let names = FuzzTarget.all.map(\.name).joined(separator: "|")
    writeLine("usage: Fuzz \(names) [-LIBFUZZER_OPTION=VALUE …] [corpus …]")
    exit(64)
}
// A peer that is gone is an error of one call, as in the daemon.
signal(SIGPIPE, SIG_IGN)
exit(LLVMFuzzerRunDriver(&count, &arguments, fuzzOneInput))
