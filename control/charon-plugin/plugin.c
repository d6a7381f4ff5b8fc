/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The plugin `penstock` of charon. It provides kernel-ipsec, nothing else, and
 * only to the strongSwan version that it was built for: charon's plugins share
 * its structures, and before 6.1 charon itself does not check.
 */
#include "ipsec.h"

#include <daemon.h>
#include <plugins/plugin.h>

#include <link.h>

/* Read by scripts/charon-plugin. */
static const char stamp[] __attribute__((used)) =
    "penstock-charon-plugin version=" PENSTOCK_VERSION " strongswan=" VERSION;

/* Read by charon 6.1 and later. */
extern const char *penstock_plugin_version;
const char *penstock_plugin_version = VERSION;

plugin_t *penstock_plugin_create(void);

/* Looks for our VERSION among the constants of the running program, the first object of all. */
static int find_version(struct dl_phdr_info *object, size_t size, void *found)
{
	const ElfW(Phdr) *segment;
	int i;

	for (i = 0; i < object->dlpi_phnum; i++) {
		segment = &object->dlpi_phdr[i];
		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R) && !(segment->p_flags & PF_W) &&
		    memmem((const void *)(object->dlpi_addr + segment->p_vaddr), segment->p_filesz, VERSION, sizeof(VERSION))) {
			*(bool *)found = TRUE;
		}
	}
	return 1;
}

METHOD(plugin_t, get_name, char *, plugin_t *this)
{
	return "penstock";
}

METHOD(plugin_t, get_features, int, plugin_t *this, plugin_feature_t *features[])
{
	static plugin_feature_t provided[] = {
		PLUGIN_CALLBACK(kernel_ipsec_register, penstock_ipsec_create),
		PLUGIN_PROVIDE(CUSTOM, "kernel-ipsec"),
	};
	*features = provided;
	return countof(provided);
}

METHOD(plugin_t, destroy, void, plugin_t *this)
{
	free(this);
}

plugin_t *penstock_plugin_create(void)
{
	plugin_t *this;
	bool right_version = FALSE;

	dl_iterate_phdr(find_version, &right_version);
	if (!right_version) {
		DBG1(DBG_LIB, "the plugin penstock was built for strongSwan %s and this is another version: "
		    "run scripts/charon-plugin build and install", VERSION);
		return NULL;
	}
	return INIT(this, .get_name = _get_name, .get_features = _get_features, .destroy = _destroy, );
}
