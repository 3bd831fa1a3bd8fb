/* Sends a service the control that administrators send with `sc control NAME paramchange`, which
   Wine's sc.exe does not know. For tests:

     control NAME */
#include <stdio.h>
#include <windows.h>

static int paramchange(const char *name)
{
    SERVICE_STATUS status;
    SC_HANDLE manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = OpenServiceA(manager, name, SERVICE_PAUSE_CONTINUE | SERVICE_QUERY_STATUS);
    if (!service || !ControlService(service, SERVICE_CONTROL_PARAMCHANGE, &status)) {
        printf("error %lu\n", GetLastError());
        return 1;
    }
    return 0;
}

int main(int count, char **arguments)
{
    return count == 2 ? paramchange(arguments[1]) : 64;
}
