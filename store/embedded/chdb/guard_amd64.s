#include "textflag.h"

// ssize_t guardedWrite(int fd, const void *buf, size_t count), in the calling convention of C: what the engine calls instead
// of write. Arguments are passed on untouched. It runs on threads of the engine, which have no goroutine, on a stack that Go does
// not know: hence no frame, and nothing of Go's before a write has failed.
TEXT guardedWrite<>(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ BX // also aligns the stack to 16 bytes for the calls
	MOVQ  DI, BX
	MOVQ  ·libcWrite(SB), AX
	CALL  AX
	TESTQ AX, AX
	JGE   done
	MOVQ  ·libcErrno(SB), AX
	CALL  AX
	MOVL  (AX), SI
	CMPL  SI, $5   // EIO
	JEQ   fatal
	CMPL  SI, $27  // EFBIG
	JEQ   fatal
	CMPL  SI, $28  // ENOSPC
	JEQ   fatal
	CMPL  SI, $122 // EDQUOT
	JEQ   fatal
	MOVQ  $-1, AX
	JMP   done

fatal:
	MOVQ BX, DI
	MOVQ ·writeFailed(SB), AX
	CALL AX  // does not return
	INT  $3

done:
	POPQ BX
	RET

GLOBL ·guardedWritePC(SB), RODATA|NOPTR, $8
DATA ·guardedWritePC(SB)/8, $guardedWrite<>(SB)
