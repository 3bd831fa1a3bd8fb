/* ProcessPrng for Wine before 8.6, which has no bcryptprimitives.dll: Rust's standard library takes
   its random numbers from there. Stands beside the program in tests, and in no package. */
#include <windows.h>

BOOLEAN WINAPI SystemFunction036(PVOID data, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    return SystemFunction036(data, (ULONG)length);
}
